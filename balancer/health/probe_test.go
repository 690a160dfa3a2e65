package health_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/balancer/health"
)

func check(t testing.TB, c health.Check, target health.Target) error {
	t.Helper()
	if c.Timeout == 0 {
		c.Interval, c.Timeout = time.Minute, 20*time.Second
	}
	return newChecker(t, c).Check(t.Context(), target)
}

// expect checks that err is nil for an empty want, and says want otherwise.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one that says %q", err, want)
	}
}

func addrOf(s *httptest.Server) string { return s.Listener.Addr().String() }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "users" || r.URL.RawQuery != "deep=1" || r.Method != http.MethodGet {
			t.Errorf("%s %s of %s", r.Method, r.URL, r.Host)
		}
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Location", "/200?deep=1")
		w.WriteHeader(code)
		io.WriteString(w, "some text")
	}))
	defer server.Close()
	for _, tt := range []struct {
		code, status int
		want         string
	}{
		{200, 0, ""},
		{204, 0, ""},
		{299, 0, ""},
		{301, 0, "is 301, want 200 to 299"},
		{500, 0, "is 500, want 200 to 299"},
		{503, 503, ""},
		{200, 204, "is 200, want 204"},
	} {
		t.Run(fmt.Sprint(tt.code, tt.status), func(t *testing.T) {
			c := health.Check{Protocol: health.HTTP, Path: fmt.Sprintf("/%d?deep=1", tt.code), Status: tt.status}
			expect(t, check(t, c, health.Target{Addr: addrOf(server), Host: "users"}), tt.want)
		})
	}
}

func TestTLS(t *testing.T) {
	var proto atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	good := func() *tls.Config { return &tls.Config{RootCAs: pool} }
	for _, tt := range []struct {
		name   string
		config health.Check
		host   string
		tls    func() *tls.Config
		want   string
	}{
		{"tcp", health.Check{}, "example.com", good, ""},
		{"http", health.Check{Protocol: health.HTTP}, "example.com:443", good, ""},
		{"another name", health.Check{}, "users", good, "users"},
		{"nobody trusts it", health.Check{TLS: true}, "example.com", nil, "certificate"},
		{"plain", health.Check{Protocol: health.HTTP}, "example.com", nil, "is 400"},
		{"not known yet", health.Check{Protocol: health.HTTP}, "example.com", func() *tls.Config { return nil }, "is 400"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, check(t, tt.config, health.Target{Addr: addrOf(server), Host: tt.host, TLS: tt.tls}), tt.want)
		})
	}
	if proto.Load() != "HTTP/1.1" {
		t.Errorf("the check came as %v", proto.Load())
	}
}

func TestPort(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, port, _ := net.SplitHostPort(addrOf(server))
	n, _ := strconv.Atoi(port)
	expect(t, check(t, health.Check{Port: n}, health.Target{Addr: "127.0.0.1:1"}), "")
	expect(t, check(t, health.Check{}, health.Target{Addr: "127.0.0.1:1"}), "refused")
}

// grpcAnswer serves what a server of gRPC would.
type grpcAnswer struct {
	status      int // of HTTP, 0 meaning 200
	code        string
	inHeader    bool
	body        []byte
	wantService string
}

func framed(message ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func (a grpcAnswer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	want := framed()
	if a.wantService != "" {
		want = framed(append([]byte{10, byte(len(a.wantService))}, a.wantService...)...)
	}
	if r.ProtoMajor != 2 || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Host != "users" ||
		r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || string(body) != string(want) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	if a.inHeader {
		w.Header().Set("Grpc-Status", a.code)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	w.Write(a.body)
	if !a.inHeader {
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", a.code)
	}
}

func TestGRPC(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer grpcAnswer
		want   string
	}{
		{"serving", grpcAnswer{code: "0", body: framed(8, 1)}, ""},
		{"of a service", grpcAnswer{code: "0", body: framed(8, 1), wantService: "a.B"}, ""},
		{"an unknown field before", grpcAnswer{code: "0", body: framed(18, 1, 'x', 8, 1)}, ""},
		{"not serving", grpcAnswer{code: "0", body: framed(8, 2)}, "status is 2"},
		{"unknown", grpcAnswer{code: "0", body: framed()}, "status is 0"},
		{"no health service", grpcAnswer{code: "12", inHeader: true}, ""},
		{"no such service", grpcAnswer{code: "5", inHeader: true}, "grpc-status is 5"},
		{"unavailable", grpcAnswer{code: "14"}, "grpc-status is 14"},
		{"no status", grpcAnswer{body: framed(8, 1)}, "want a number"},
		{"another HTTP status", grpcAnswer{status: 503, code: "0", body: framed(8, 1)}, "HTTP status is 503"},
		{"no message", grpcAnswer{code: "0"}, "want a message"},
		{"a message cut short", grpcAnswer{code: "0", body: framed(8, 1)[:6]}, "should have 2 bytes"},
		{"two messages", grpcAnswer{code: "0", body: append(framed(8, 1), framed(8, 1)...)}, "should have 2 bytes"},
		{"compressed", grpcAnswer{code: "0", body: []byte{1, 0, 0, 0, 0}}, "compressed"},
		{"nonsense", grpcAnswer{code: "0", body: framed(8)}, "cannot be read"},
		{"a long message", grpcAnswer{code: "0", body: make([]byte, 10_000)}, "health:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, encrypted := range []bool{false, true} {
				server := httptest.NewUnstartedServer(tt.answer)
				server.Config.Protocols = new(http.Protocols)
				server.Config.Protocols.SetHTTP2(true)
				server.Config.Protocols.SetUnencryptedHTTP2(true)
				target := health.Target{Host: "users"}
				if encrypted {
					server.EnableHTTP2 = true
					server.StartTLS()
					pool := x509.NewCertPool()
					pool.AddCert(server.Certificate())
					target.TLS = func() *tls.Config { return &tls.Config{RootCAs: pool, ServerName: "example.com"} }
				} else {
					server.Start()
				}
				target.Addr = addrOf(server)
				expect(t, check(t, health.Check{Protocol: health.GRPC, Service: tt.answer.wantService}, target), tt.want)
				server.Close()
			}
		})
	}
}

// hostile is a server that speaks as the test wants it to every connection.
func hostile(t *testing.T, speak func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				speak(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// Whatever a server says, a check ends, and reads no more than it has to.
func TestHostileServers(t *testing.T) {
	forever := func(head, again string) func(net.Conn) {
		return func(conn net.Conn) {
			io.WriteString(conn, head)
			for {
				if _, err := io.WriteString(conn, again); err != nil {
					return
				}
			}
		}
	}
	silent := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	for _, tt := range []struct {
		name     string
		protocol health.Protocol
		speak    func(net.Conn)
		want     string // "-" for an error that may say anything
	}{
		{"endless headers", health.HTTP, forever("HTTP/1.1 200 OK\r\n", "X-More: and more\r\n"), "-"},
		{"an endless line", health.HTTP, forever("HTTP/1.1 ", "200"), "-"},
		{"an endless body", health.HTTP, forever("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 1000)), ""},
		{"nothing", health.HTTP, silent, "deadline"},
		{"an end", health.HTTP, func(net.Conn) {}, "-"},
		{"garbage", health.HTTP, forever("\x00\xff", "\x00"), "-"},
		{"gRPC: nothing", health.GRPC, silent, "deadline"},
		{"gRPC: an end", health.GRPC, func(net.Conn) {}, "-"},
		{"gRPC: HTTP/1.1", health.GRPC, forever("HTTP/1.1 200 OK\r\n\r\n", "x"), "-"},
		{"gRPC: garbage", health.GRPC, forever("\x00\x00\x12\x04", "\xff\x00"), "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := hostile(t, tt.speak)
			err := check(t, health.Check{Protocol: tt.protocol, Interval: time.Second, Timeout: time.Second}, health.Target{Addr: addr})
			if tt.want == "-" {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			expect(t, err, tt.want)
		})
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	addr := hostile(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	err := newChecker(t, health.Check{Protocol: health.HTTP, Interval: time.Hour, Timeout: time.Hour}).Check(ctx, health.Target{Addr: addr})
	if err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
}
