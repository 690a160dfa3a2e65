package consul_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

func TestBadConfig(t *testing.T) {
	source := func(context.Context) (string, error) { return "", nil }
	for _, test := range []struct {
		name   string
		config consul.Config
		env    [2]string
		want   []string
	}{
		{"Address with a blank", consul.Config{Address: "a b:8500"}, [2]string{}, []string{"Address", `"a b:8500"`, "host:port"}},
		{"Address with a bad port", consul.Config{Address: "a:0"}, [2]string{}, []string{"Address", `"a:0"`}},
		{"Address with a bad scheme", consul.Config{Address: "ftp://a"}, [2]string{}, []string{"Address", `"ftp://a"`}},
		{"Address without a host", consul.Config{Address: ":8500"}, [2]string{}, []string{"Address", `":8500"`}},
		{"Address without a path", consul.Config{Address: "unix://"}, [2]string{}, []string{"Address", "unix"}},
		{"Address with a query", consul.Config{Address: "http://a:1/?x"}, [2]string{}, []string{"Address"}},
		{"CONSUL_HTTP_ADDR", consul.Config{}, [2]string{"CONSUL_HTTP_ADDR", "a:b"}, []string{"CONSUL_HTTP_ADDR", `"a:b"`}},
		{"CONSUL_HTTP_SSL", consul.Config{}, [2]string{"CONSUL_HTTP_SSL", "maybe"}, []string{"CONSUL_HTTP_SSL", `"maybe"`, "true or false"}},
		{"CONSUL_HTTP_SSL_VERIFY", consul.Config{}, [2]string{"CONSUL_HTTP_SSL_VERIFY", "yep"}, []string{"CONSUL_HTTP_SSL_VERIFY", `"yep"`}},
		{"CONSUL_CACERT", consul.Config{}, [2]string{"CONSUL_CACERT", "/nowhere"}, []string{"/nowhere"}},
		{"two tokens", consul.Config{Token: "a", TokenSource: source}, [2]string{}, []string{"Token and TokenSource", "at most one"}},
		{"Token with a line break", consul.Config{Token: "a\nb"}, [2]string{}, []string{"Token", "visible ASCII"}},
		{"Datacenter", consul.Config{Datacenter: "dc 2"}, [2]string{}, []string{"Datacenter", `"dc 2"`}},
		{"Namespace", consul.Config{Namespace: "a/b"}, [2]string{}, []string{"Namespace", `"a/b"`}},
		{"Partition", consul.Config{Partition: strings.Repeat("x", 129)}, [2]string{}, []string{"Partition", "128"}},
		{"empty tag", consul.Config{Tags: []string{"a", ""}}, [2]string{}, []string{"Tags[1]", "empty"}},
		{"unspeakable tag", consul.Config{Tags: []string{"`\""}}, [2]string{}, []string{"Tags[0]", "backquote"}},
		{"Wait", consul.Config{Wait: time.Millisecond}, [2]string{}, []string{"Wait", "1ms", "1s to 10m"}},
		{"negative Wait", consul.Config{Wait: -1}, [2]string{}, []string{"Wait", "-1ns"}},
		{"Timeout", consul.Config{Timeout: time.Hour}, [2]string{}, []string{"Timeout", "1h", "5m"}},
		{"two mistakes", consul.Config{Timeout: time.Hour, Wait: -1}, [2]string{}, []string{"Timeout", "Wait"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.env[0] != "" {
				t.Setenv(test.env[0], test.env[1])
			}
			_, err := consul.New(test.config)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestGoodAddress(t *testing.T) {
	for _, address := range []string{"", "localhost", "localhost:8500", "[::1]:8500", "http://a", "https://a:8501/consul", "unix:///run/consul.sock"} {
		t.Run(address, func(t *testing.T) { newResolver(t, consul.Config{Address: address}) })
	}
}

// serveOne answers as an agent with one instance.
func serveOne(w http.ResponseWriter, r *http.Request) {
	if waits(r) {
		block(r)
	}
	say(w, "7", one)
}

func TestEnvironment(t *testing.T) {
	for _, token := range []string{"", "from-the-environment"} {
		t.Run("token "+token, func(t *testing.T) {
			tokens := make(chan string, 10)
			agent := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
				tokens <- r.Header.Get("X-Consul-Token")
				serveOne(w, r)
			})
			t.Setenv("CONSUL_HTTP_ADDR", agent.addr)
			t.Setenv("CONSUL_HTTP_TOKEN", token)
			f := follow(t, newResolver(t, consul.Config{}), "users")
			f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
			if got := <-tokens; got != token {
				t.Errorf("sent token %q, want %q", got, token)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(serveOne)}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	f := follow(t, newResolver(t, consul.Config{Address: "unix://" + path}), "users")
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
}

// TestTLS watches many services over https, which share one connection.
func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("asked over %s, want HTTP/2", r.Proto)
		}
		serveOne(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	pool := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	resolver := newResolver(t, consul.Config{
		Address: server.Listener.Addr().String(),
		TLS:     &tls.Config{RootCAs: pool, ServerName: "example.com"},
	})
	for _, name := range []string{"a", "b", "c"} {
		follow(t, resolver, name).until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
	}
	server.Client().CloseIdleConnections()
}

var _ io.Closer = (*consul.Resolver)(nil)
