package consul_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// patient is an endpoint of one kind of check that can be made ill.
type patient struct {
	name  string
	check consul.Check
	addr  string
	set   func(well bool)
}

// ward starts one of each kind.
func ward(t *testing.T) []patient {
	return []patient{httpPatient(t), httpsPatient(t), tcpPatient(t), grpcPatient(t), ttlPatient()}
}

func httpPatient(t *testing.T) patient {
	var ill atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() || r.Method != http.MethodHead || r.URL.String() != "/healthz?full=1" || r.Header.Get("X-Check") != "yes" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	return patient{
		name: "HTTP",
		check: consul.HTTPCheck{
			Path: "/healthz?full=1", Method: http.MethodHead, Header: map[string][]string{"X-Check": {"yes"}}, Interval: time.Second,
		},
		addr: server.Listener.Addr().String(),
		set:  func(well bool) { ill.Store(!well) },
	}
}

// httpsPatient is asked at another address than the endpoint's.
func httpsPatient(t *testing.T) patient {
	var ill atomic.Bool
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() || r.Method != http.MethodGet || r.URL.Path != "/" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return patient{
		name:  "HTTPS",
		check: consul.HTTPCheck{Addr: server.Listener.Addr().String(), TLS: true, TLSSkipVerify: true, Interval: time.Second},
		addr:  "10.0.0.1:443",
		set:   func(well bool) { ill.Store(!well) },
	}
}

func tcpPatient(t *testing.T) patient {
	listen := func(addr string) net.Listener {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := listen("127.0.0.1:0")
	t.Cleanup(func() { _ = l.Close() })
	addr := l.Addr().String()
	return patient{
		name:  "TCP",
		check: consul.TCPCheck{Interval: time.Second, Timeout: 500 * time.Millisecond, SuccessBeforePassing: 2, FailuresBeforeCritical: 2},
		addr:  addr,
		set: func(well bool) {
			if _ = l.Close(); well {
				l = listen(addr)
			}
		},
	}
}

func grpcPatient(t *testing.T) patient {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, state := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	state.SetServingStatus("acme.Users", grpc_health_v1.HealthCheckResponse_SERVING)
	state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return patient{
		name:  "GRPC",
		check: consul.GRPCCheck{Service: "acme.Users", Interval: time.Second},
		addr:  l.Addr().String(),
		set: func(well bool) {
			status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
			if well {
				status = grpc_health_v1.HealthCheckResponse_SERVING
			}
			state.SetServingStatus("acme.Users", status)
		},
	}
}

func ttlPatient() patient {
	var ill atomic.Bool
	return patient{
		name: "TTL",
		check: consul.TTLCheck{TTL: 2 * time.Second, Ready: func(context.Context) error {
			if ill.Load() {
				return errors.New("the database is away")
			}
			return nil
		}},
		addr: "10.0.0.1:80",
		set:  func(well bool) { ill.Store(!well) },
	}
}

// TestChecks makes each kind of endpoint ill and well again, as a Resolver sees it.
func TestChecks(t *testing.T) {
	agent := consultest.Start(t)
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	for _, p := range ward(t) {
		t.Run(p.name, func(t *testing.T) {
			registrar := newRegistrar(t, quietly(agent), p.check)
			f := follow(t, resolver, "users")
			registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: p.addr})
			here := func(e event) bool { return e.has(p.addr) }
			f.until("the endpoint", here)
			p.set(false)
			f.until("its illness", func(e event) bool { return e.has() })
			if p.name == "TTL" {
				checks, _, err := agent.Client.Health().Checks("users", nil)
				if err != nil || len(checks) != 1 || checks[0].Output != "the database is away" {
					t.Errorf("got %+v, %v, want one check that says what Ready said", checks, err)
				}
			}
			p.set(true)
			f.until("its health", here)
			leave(t, registration)
			f.until("its absence", func(e event) bool { return e.has() })
		})
	}
}

// TestForgetfulAgent restarts the agent, which then knows nothing, with one
// endpoint of each kind.
func TestForgetfulAgent(t *testing.T) {
	agent := consultest.Start(t)
	patients := append(ward(t), patient{name: "default", addr: "10.0.0.2:80"})
	for _, p := range patients {
		var checks []consul.Check
		if p.check != nil {
			checks = []consul.Check{p.check}
		}
		registrar := newRegistrar(t, consul.Config{Address: agent.Addr}, checks...)
		enroll(t, registrar, p.name, discovery.Endpoint{ID: p.name, Addr: p.addr, Drain: true, Weight: 3})
		awaitService(t, agent, p.name)
	}
	for _, gap := range []time.Duration{0, 3 * time.Second} {
		agent.Kill()
		<-time.After(gap)
		agent.Restart()
		ready := time.Now()
		for _, p := range patients { // asked of the agent: a watch may rest after its errors
			awaitService(t, agent, p.name)
			took := time.Since(ready)
			t.Logf("agent away for %v: %-7s is back %v after it is ready", gap, p.name, took)
			if took > 4*time.Second {
				t.Errorf("%s is back %v after the agent is ready, want about 2 s at most", p.name, took)
			}
		}
	}
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	for _, p := range patients {
		follow(t, resolver, p.name).until("the endpoint as it was", func(e event) bool {
			return e.has(p.addr) && e.Endpoints[0].Drain && e.Endpoints[0].Weight == 3
		})
	}
}

// TestReaped takes sick endpoints out of the agent, as Consul does after a
// while. They come back as sick as they were: nobody calls them before their
// checks pass.
func TestReaped(t *testing.T) {
	agent := consultest.Start(t)
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	for i, p := range ward(t) {
		checks := []consul.Check{p.check}
		if i%2 == 1 && p.name != "TTL" {
			checks = append(checks, consul.TTLCheck{})
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, resolver, p.name)
			enroll(t, newRegistrar(t, quietly(agent), checks...), p.name, discovery.Endpoint{ID: p.name, Addr: p.addr})
			f.until("the endpoint", func(e event) bool { return e.has(p.addr) })
			p.set(false)
			f.until("its illness", func(e event) bool { return e.has() })
			f.quiet(6 * time.Second) // the Registrar looks
			for range 2 {
				deregister(t, agent, p.name)
				awaitService(t, agent, p.name)
				f.quiet(time.Second)
			}
			p.set(true)
			f.until("its health", func(e event) bool { return e.has(p.addr) })
		})
	}
}

func awaitService(t *testing.T, agent *consultest.Agent, id string) {
	t.Helper()
	eventually(t, "service "+id+" at the agent", func() bool {
		services, err := agent.Client.Agent().Services()
		if err != nil {
			t.Fatal(err)
		}
		return services[id] != nil
	})
}

// TestBadChecks checks that a mistake in a check is an error that names it.
func TestBadChecks(t *testing.T) {
	for _, test := range []struct {
		name   string
		checks []consul.Check
		want   []string
	}{
		{"nil", []consul.Check{consul.TTLCheck{}, nil}, []string{"check 2", "nil", "HTTPCheck"}},
		{"nil pointer", []consul.Check{(*consul.HTTPCheck)(nil)}, []string{"check 1", "*consul.HTTPCheck", "pointer"}},
		{"two hearts", []consul.Check{consul.TTLCheck{}, consul.TTLCheck{}}, []string{"2 checks", "TTLCheck", "at most one"}},
		{"Path", []consul.Check{consul.HTTPCheck{Path: "health"}}, []string{"HTTPCheck.Path", `"health"`, "slash"}},
		{"Path with a fragment", []consul.Check{consul.HTTPCheck{Path: "/a#b"}}, []string{"HTTPCheck.Path", `"/a#b"`}},
		{"Path with a line break", []consul.Check{consul.HTTPCheck{Path: "/a\nb"}}, []string{"HTTPCheck.Path"}},
		{"Path that is a URL", []consul.Check{consul.HTTPCheck{Path: "http://a/b"}}, []string{"HTTPCheck.Path"}},
		{"Method", []consul.Check{consul.HTTPCheck{Method: "GE T"}}, []string{"HTTPCheck.Method", `"GE T"`}},
		{"Header name", []consul.Check{consul.HTTPCheck{Header: map[string][]string{"a b": {"x"}}}}, []string{"HTTPCheck.Header", `"a b"`}},
		{"Header value", []consul.Check{consul.HTTPCheck{Header: map[string][]string{"A": {"x\n"}}}}, []string{"HTTPCheck.Header", `"A"`}},
		{"Addr", []consul.Check{consul.TCPCheck{Addr: "::1"}}, []string{"TCPCheck.Addr", `"::1"`, "host:port"}},
		{"Interval", []consul.Check{consul.GRPCCheck{Interval: time.Millisecond}}, []string{"GRPCCheck.Interval", "1ms", "1s"}},
		{"Timeout", []consul.Check{consul.TCPCheck{Timeout: -1}}, []string{"TCPCheck.Timeout", "-1ns"}},
		{"SuccessBeforePassing", []consul.Check{consul.TCPCheck{SuccessBeforePassing: -1}}, []string{"TCPCheck.SuccessBeforePassing", "-1"}},
		{"FailuresBeforeCritical", []consul.Check{consul.TCPCheck{FailuresBeforeCritical: 101}}, []string{"TCPCheck.FailuresBeforeCritical", "101", "100"}},
		{"Service", []consul.Check{consul.GRPCCheck{Service: "a/b"}}, []string{"GRPCCheck.Service", `"a/b"`}},
		{"TTL", []consul.Check{consul.TTLCheck{TTL: 500 * time.Millisecond}}, []string{"TTLCheck.TTL", "500ms", "1s"}},
		{"two mistakes", []consul.Check{consul.HTTPCheck{Path: "x", Interval: 1}}, []string{"HTTPCheck.Path", "HTTPCheck.Interval"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := consul.NewRegistrar(consul.Config{}, test.checks...)
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

func TestGoodChecks(t *testing.T) {
	for name, check := range map[string]consul.Check{
		"HTTP":   consul.HTTPCheck{Path: "/a%20b?c=d", Addr: "[::1]:80", Interval: time.Hour, Timeout: time.Minute, SuccessBeforePassing: 100},
		"TCP":    consul.TCPCheck{Addr: "localhost:1", Interval: time.Second, Timeout: 10 * time.Millisecond},
		"GRPC":   consul.GRPCCheck{Service: "acme.v1.Users", TLS: true, TLSServerName: "users"},
		"TTL":    consul.TTLCheck{TTL: time.Second},
		"zeroes": consul.HTTPCheck{},
	} {
		t.Run(name, func(t *testing.T) { newRegistrar(t, consul.Config{}, check) })
	}
}

// TestCriticalIsLogged registers a server with a check that asks for the wrong
// path: within two looks of 5 s the log says what the agent says.
func TestCriticalIsLogged(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	var out syncBuilder
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	config := consul.Config{Address: agent.Addr, Logger: slog.New(slog.NewTextHandler(&out, nil))}
	registrar := newRegistrar(t, config, consul.HTTPCheck{Path: "/healthz", Interval: time.Second})
	enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: server.Listener.Addr().String()})
	eventually(t, "warning", func() bool { return strings.Contains(out.String(), "404") })
	if n := strings.Count(out.String(), "level=WARN"); n != 1 || !strings.Contains(out.String(), "u1") {
		t.Errorf("want one warning that names the endpoint, got:\n%s", out.String())
	}
}
