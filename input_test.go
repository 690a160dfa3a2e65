package fairlead_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// Each bad option is an error that names what is wrong and what is allowed.
func TestBadOptions(t *testing.T) {
	good := discovery.Services{"users": discovery.Addrs("a:1")}
	tests := []struct {
		name     string
		resolver discovery.Resolver
		opt      fairlead.Option
		want     []string
	}{
		{"nil resolver", nil, nil, []string{"resolver", "nil"}},
		{"typed nil resolver", (*discovery.Registry)(nil), nil, []string{"resolver", "nil"}},
		{"malformed address", discovery.Services{"users": discovery.Addrs("nonsense")}, nil, []string{"users", "nonsense", "host:port"}},
		{"address without a host", discovery.Services{"users": discovery.Addrs(":80")}, nil, []string{":80", "host"}},
		{"port 0", discovery.Services{"users": discovery.Addrs("a:0")}, nil, []string{"a:0", "1 to 65535"}},
		{"negative weight", discovery.Services{"users": {{Addr: "a:1", Weight: -1}}}, nil, []string{"Weight", "-1"}},
		{"absurd weight", discovery.Services{"users": {{Addr: "a:1", Weight: 1 << 40}}}, nil, []string{"Weight", "1000000"}},
		{"duplicate", discovery.Services{"users": discovery.Addrs("a:1", "a:1")}, nil, []string{"a:1", "twice"}},
		{"empty name", discovery.Services{"": discovery.Addrs("a:1")}, nil, []string{"name", "empty"}},
		{"capitals", discovery.Services{"Users": discovery.Addrs("a:1")}, nil, []string{"Users", "lower case"}},
		{"nil option", good, nilOption(), []string{"option", "nil"}},
		{"nil policy", good, fairlead.WithBalancer(nil), []string{"WithBalancer", "nil"}},
		{"failures", good, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: -2}), []string{"ConsecutiveFailures", "-2", "-1"}},
		{"ratio", good, fairlead.WithBreaker(breaker.Config{SuccessRatio: 1.5}), []string{"SuccessRatio", "1.5", "at most 1"}},
		{"window", good, fairlead.WithBreaker(breaker.Config{Window: -time.Second}), []string{"Window", "-1s"}},
		{"attempts", good, fairlead.WithRetry(retry.Config{Attempts: 6}), []string{"Attempts", "6", "5"}},
		{"attempt timeout", good, fairlead.WithRetry(retry.Config{AttemptTimeout: -1}), []string{"AttemptTimeout", "-1ns"}},
		{"back-off", good, fairlead.WithRetry(retry.Config{Backoff: retry.Backoff{Base: 2 * time.Second, Max: time.Second}}), []string{"Backoff.Base", "2s", "1s"}},
		{"budget", good, fairlead.WithRetry(retry.Config{Budget: retry.Budget{Ratio: -2}}), []string{"Budget.Ratio", "-2", "-1"}},
		{"timeout", good, fairlead.WithTimeout(-time.Second), []string{"WithTimeout", "-1s"}},
		{"nil classifier", good, fairlead.WithClassifier(nil), []string{"WithClassifier", "nil"}},
		{"nil TLS", good, fairlead.WithTLS(nil), []string{"WithTLS", "nil"}},
		{"nil adjustment", good, fairlead.WithTransport(nil), []string{"WithTransport", "nil"}},
		{"nil endpoint transport", good, fairlead.WithEndpointTransport(nil), []string{"WithEndpointTransport", "nil"}},
		{"nil fallback", good, fairlead.WithFallbackTransport((*http.Transport)(nil)), []string{"WithFallbackTransport", "nil"}},
		{"nil middleware", good, fairlead.WithMiddleware(nil), []string{"WithMiddleware", "nil"}},
		{"nil attempt middleware", good, fairlead.WithAttemptMiddleware(nil), []string{"WithAttemptMiddleware", "nil"}},
		{"nil tracer provider", good, fairlead.WithTracerProvider(nil), []string{"WithTracerProvider", "nil"}},
		{"nil meter provider", good, fairlead.WithMeterProvider(nil), []string{"WithMeterProvider", "nil"}},
		{"nil propagator", good, fairlead.WithPropagator(nil), []string{"WithPropagator", "nil"}},
		{"nil logger", good, fairlead.WithLogger(nil), []string{"WithLogger", "nil"}},
		{"hold", good, fairlead.WithEmptyHold(-1), []string{"WithEmptyHold", "-1ns"}},
		{"services", good, fairlead.WithMaxServices(0), []string{"WithMaxServices", "0", "1"}},
		{"hops", good, fairlead.WithForwardedIP(-1), []string{"WithForwardedIP", "-1", "0 to 100"}},
		{"idle", good, fairlead.WithServiceIdle(0), []string{"WithServiceIdle", "0s"}},
		{"service without a name", good, fairlead.ForService(""), []string{"ForService", "host"}},
		{"service with a space", good, fairlead.ForService("a b"), []string{"ForService", "a b"}},
		{"service's option", good, fairlead.ForService("users", fairlead.WithTimeout(-1)), []string{"users", "WithTimeout"}},
		{"service's nil option", good, fairlead.ForService("users", nil), []string{"users", "nil"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var opts []fairlead.Option
			if tt.opt != nil || tt.name == "nil option" {
				opts = append(opts, tt.opt)
			}
			mesh, err := fairlead.New(tt.resolver, opts...)
			if err == nil {
				mesh.Close()
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func nilOption() fairlead.Option { return nil }

// All mistakes are told at once.
func TestEveryMistakeIsNamed(t *testing.T) {
	_, err := fairlead.New(discovery.Services{}, fairlead.WithTimeout(-1), fairlead.WithTLS(nil))
	if err == nil || !strings.Contains(err.Error(), "WithTimeout") || !strings.Contains(err.Error(), "WithTLS") {
		t.Errorf("error %v, want both options named", err)
	}
}

func TestBadRequests(t *testing.T) {
	mesh := newMeshOver(t, discovery.Services{"users": discovery.Addrs("127.0.0.1:1")})
	tests := map[string]struct {
		req  *http.Request
		want string
	}{
		"no URL":         {&http.Request{Header: http.Header{}}, "URL is nil"},
		"no header":      {&http.Request{URL: &url.URL{Scheme: "http", Host: "users"}}, "Header is nil"},
		"no scheme":      {&http.Request{URL: &url.URL{Host: "users"}, Header: http.Header{}}, "want http or https"},
		"unknown scheme": {&http.Request{URL: &url.URL{Scheme: "ftp", Host: "users"}, Header: http.Header{}}, `"ftp", want http or https`},
		"no host":        {&http.Request{URL: &url.URL{Scheme: "http"}, Header: http.Header{}}, "host, is empty"},
		"space in host":  {&http.Request{URL: &url.URL{Scheme: "http", Host: "a b"}, Header: http.Header{}}, `"a b"`},
		"unicode host":   {&http.Request{URL: &url.URL{Scheme: "http", Host: "üsers"}, Header: http.Header{}}, "ASCII"},
		"long host":      {&http.Request{URL: &url.URL{Scheme: "http", Host: strings.Repeat("a", 300)}, Header: http.Header{}}, "300 bytes"},
		"bad port":       {&http.Request{URL: &url.URL{Scheme: "http", Host: "users:99999"}, Header: http.Header{}}, "1 to 65535"},
		"only a dot":     {&http.Request{URL: &url.URL{Scheme: "http", Host: "."}, Header: http.Header{}}, "name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			resp, err := mesh.RoundTrip(tt.req)
			if err == nil {
				resp.Body.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestUnknownService(t *testing.T) {
	watched := 0
	mesh := newMeshOver(t, watchFunc(func(ctx context.Context, service string, yield func(discovery.Snapshot, error) bool) {
		watched++
		yield(discovery.Snapshot{Unknown: true}, fmt.Errorf("no %s here", service))
		<-ctx.Done()
	}))
	for range 5 {
		_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://Nobody/", nil))
		var call *fairlead.CallError
		if !errors.Is(err, fairlead.ErrUnknownService) || !errors.As(err, &call) || call.Service != "nobody" || call.Attempts != 0 {
			t.Fatalf("error %v, want a CallError of nobody with ErrUnknownService", err)
		}
		if !strings.Contains(err.Error(), "no nobody here") {
			t.Errorf("error %q does not give the resolver's reason", err)
		}
	}
	if watched != 1 {
		t.Errorf("the resolver was asked %d times, want once: the answer is remembered", watched)
	}
	if n := len(mesh.Status().Services); n != 0 {
		t.Errorf("%d services are watched, want none", n)
	}
}

func TestFallbackTransport(t *testing.T) {
	foreign := newServer(t, hello)
	own := newServer(t, hello)
	mesh := newMesh(t, []*server{own}, fairlead.WithFallbackTransport(http.DefaultTransport))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for range 3 {
		resp, err := mesh.Client().Get("http://" + foreign.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != "hello from "+foreign.addr {
			t.Errorf("got %q", got)
		}
		resp, err = mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	if foreign.calls.Load() != 3 || own.calls.Load() != 3 {
		t.Errorf("calls %d and %d, want 3 and 3", foreign.calls.Load(), own.calls.Load())
	}
}

// Made-up names come from URLs: they must neither grow anything nor push real
// services out.
func TestTenThousandMadeUpNames(t *testing.T) {
	for name, resolver := range map[string]func(s *server) discovery.Resolver{
		"unknown": func(s *server) discovery.Resolver {
			return discovery.Services{"users": discovery.Addrs(s.addr)}
		},
		"never answered": func(s *server) discovery.Resolver {
			known := discovery.Services{"users": discovery.Addrs(s.addr)}
			return watchFunc(func(ctx context.Context, service string, yield func(discovery.Snapshot, error) bool) {
				if service == "users" {
					known.Watch(ctx, service)(yield)
				}
				<-ctx.Done()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, hello)
			mesh := newMeshOver(t, resolver(s), fairlead.WithMaxServices(20))
			call := func(ctx context.Context, url string) error {
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, url, nil).WithContext(ctx))
				if err == nil {
					readAll(t, resp)
				}
				return err
			}
			if err := call(t.Context(), "http://users/"); err != nil {
				t.Fatal(err)
			}
			before := runtime.NumGoroutine()
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			for i := range 10_000 {
				ctx := t.Context()
				if name == "never answered" {
					ctx = gone
				}
				if err := call(ctx, fmt.Sprintf("http://made-up-%d.example/", i)); err == nil {
					t.Fatal("a made-up name was answered")
				}
			}
			if n := len(mesh.Status().Services); n > 20 {
				t.Errorf("%d services are watched, want at most 20", n)
			}
			eventually(t, "the watches of made-up names end", func() bool { return runtime.NumGoroutine() < before+50 })
			if err := call(t.Context(), "http://users/"); err != nil {
				t.Error(err)
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections to the real service, want the first one still", n)
			}
		})
	}
}

// What a registry sends wrongly is left out; the rest is served.
func TestMalformedEntriesOfARegistry(t *testing.T) {
	s := newServer(t, hello)
	mesh := newMeshOver(t, watchFunc(func(ctx context.Context, _ string, yield func(discovery.Snapshot, error) bool) {
		yield(discovery.Snapshot{Endpoints: []discovery.Endpoint{
			{}, {Addr: "nonsense"}, {Addr: "::1:80"}, {Addr: "a:0"}, {Addr: "a:99999"}, {Addr: "a:1", Weight: -5},
			{Addr: s.addr}, {Addr: s.addr}, {ID: s.addr, Addr: "b:1"},
		}}, nil)
		<-ctx.Done()
	}))
	for range 5 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	if n := len(mesh.Status().Services[0].Endpoints); n != 1 {
		t.Errorf("%d endpoints, want the one that is whole", n)
	}
}

func TestUseAfterClose(t *testing.T) {
	s := newServer(t, hello)
	mesh := newMesh(t, []*server{s})
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	for range 2 {
		if err := mesh.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); err != fairlead.ErrClosed {
		t.Errorf("RoundTrip after Close: %v, want ErrClosed itself", err)
	}
	if err := mesh.Ready(t.Context(), "users"); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("Ready after Close: %v, want ErrClosed", err)
	}
	if _, err := mesh.Hold("users"); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("Hold after Close: %v, want ErrClosed", err)
	}
	if err := mesh.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
	mesh.CloseIdleConnections()
	if !mesh.Status().Closed {
		t.Error("Status does not say that the Mesh is closed")
	}
}

// Per-service options apply to their service, whatever the case of its name.
func TestForService(t *testing.T) {
	f := newFleet(1)
	f.endpoints[0].does(after(50*time.Millisecond, 200))
	mesh := f.mesh(t,
		fairlead.ForService("USERS.", fairlead.WithTimeout(5*time.Millisecond), fairlead.WithBalancer(balancer.LeastConn())),
		fairlead.WithTimeout(time.Minute), fairlead.WithTLS(&tls.Config{}))
	if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); !errors.Is(err, fairlead.ErrTimeout) {
		t.Errorf("error %v, want the service's own timeout", err)
	}
	if got := mesh.Status().Services[0].Policy; got != "least_conn" {
		t.Errorf("policy %q, want the service's own", got)
	}
}
