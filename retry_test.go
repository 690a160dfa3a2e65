package fairlead_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, http.StatusText(code))
	}
}

// What is sent again, by method and answer. One server of two is bad.
func TestWhatIsRetried(t *testing.T) {
	safe := func(_ context.Context, method, path string) bool {
		return method == http.MethodPost && path == "/search"
	}
	tests := []struct {
		name    string
		method  string
		path    string
		bad     http.HandlerFunc
		prepare func(*http.Request) *http.Request
		again   bool
	}{
		{"GET 503", http.MethodGet, "/", status(503), nil, true},
		{"GET 502", http.MethodGet, "/", status(502), nil, true},
		{"GET 504", http.MethodGet, "/", status(504), nil, true},
		{"GET 429", http.MethodGet, "/", status(429), nil, true},
		{"GET 500", http.MethodGet, "/", status(500), nil, false},
		{"GET 501", http.MethodGet, "/", status(501), nil, false},
		{"GET 404", http.MethodGet, "/", status(404), nil, false},
		{"GET reset", http.MethodGet, "/", cuts(""), nil, true},
		{"PUT 503", http.MethodPut, "/", status(503), nil, true},
		{"DELETE 503", http.MethodDelete, "/", status(503), nil, true},
		{"POST 503", http.MethodPost, "/", status(503), nil, false},
		{"PATCH 503", http.MethodPatch, "/", status(503), nil, false},
		{"POST reset", http.MethodPost, "/", cuts(""), nil, false},
		{"POST 421", http.MethodPost, "/", status(421), nil, true},
		{"POST by predicate", http.MethodPost, "/search", status(503), nil, true},
		{"POST with Idempotency-Key", http.MethodPost, "/", status(503), func(r *http.Request) *http.Request {
			r.Header.Set("Idempotency-Key", "1")
			return r
		}, true},
		{"POST allowed by context", http.MethodPost, "/", status(503), func(r *http.Request) *http.Request {
			return r.WithContext(fairlead.WithOverride(r.Context(), fairlead.Override{Retry: fairlead.RetryAllowed}))
		}, true},
		{"GET forbidden by context", http.MethodGet, "/", status(503), func(r *http.Request) *http.Request {
			return r.WithContext(fairlead.WithOverride(r.Context(), fairlead.Override{Retry: fairlead.RetryForbidden}))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad, good := newServer(t, tt.bad), newServer(t, hello)
			mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()),
				fairlead.WithRetry(retry.Config{Safe: safe}), fairlead.WithoutBreaker())
			failures := 0
			for range 4 { // two of them begin at the bad server
				req := request(t, tt.method, "http://users"+tt.path, nil)
				if tt.prepare != nil {
					req = tt.prepare(req)
				}
				resp, err := mesh.RoundTrip(req)
				if err != nil {
					failures++
					continue
				}
				readAll(t, resp)
				if resp.StatusCode != http.StatusOK {
					failures++
				}
			}
			if again := failures == 0; again != tt.again {
				t.Errorf("%d of 4 calls failed: sent again %v, want %v", failures, again, tt.again)
			}
			if !tt.again && bad.calls.Load()+good.calls.Load() != 4 {
				t.Errorf("%d attempts for 4 calls, want 4", bad.calls.Load()+good.calls.Load())
			}
			settled(t, mesh)
		})
	}
}

// sendsWhole makes a few calls, whose endpoints say what they got.
func sendsWhole(t *testing.T, mesh *fairlead.Mesh, method string, content func() io.Reader) {
	t.Helper()
	for range 8 {
		resp, err := mesh.RoundTrip(request(t, method, "http://users/", content()))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != "content" {
			t.Errorf("the server saw %q, want the body", got)
		}
	}
}

// Any method is sent again where no connection came to be, and with its body.
func TestRefusedConnectionIsRetriedForAnyMethod(t *testing.T) {
	gone, good := newServer(t, hello), newServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	gone.kill()
	for name, content := range map[string]func() io.Reader{
		"with GetBody": func() io.Reader { return strings.NewReader("content") },
		"without":      func() io.Reader { return newBody("content") },
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, []*server{gone, good}, fairlead.WithBalancer(balancer.RoundRobin()))
			sendsWhole(t, mesh, http.MethodPost, content)
		})
	}
}

// What the first endpoint has read of a body is sent to the next all the same.
func TestBodyIsSentAgainWhole(t *testing.T) {
	bad := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	good := newServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	for name, content := range map[string]func() io.Reader{
		"with GetBody": func() io.Reader { return strings.NewReader("content") },
		"without":      func() io.Reader { return newBody("content") },
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker())
			before := bad.calls.Load()
			sendsWhole(t, mesh, http.MethodPut, content)
			if bad.calls.Load() == before {
				t.Error("no call came to the endpoint that fails")
			}
		})
	}
}

// A body without GetBody is replayed from what was read of it, if that is little.
func TestBodyReplay(t *testing.T) {
	for name, tt := range map[string]struct {
		size   int
		status int
	}{
		"little":     {1000, 200},
		"just right": {64 << 10, 200},
		"too much":   {64<<10 + 1, 503},
	} {
		t.Run(name, func(t *testing.T) {
			bad := newServer(t, status(503))
			var got atomic.Pointer[[]byte]
			good := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
				content, _ := io.ReadAll(r.Body)
				got.Store(&content)
			})
			mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker())
			content := bytes.Repeat([]byte("0123456789"), tt.size/10+1)[:tt.size]
			seen503 := false
			for range 2 {
				b := newBody(string(content))
				resp, err := mesh.RoundTrip(request(t, http.MethodPut, "http://users/", b))
				if err != nil {
					t.Fatal(err)
				}
				readAll(t, resp)
				seen503 = seen503 || resp.StatusCode == 503
				eventually(t, "the body is closed", func() bool { return b.closed.Load() == 1 })
			}
			if seen503 != (tt.status == 503) {
				t.Errorf("a caller saw the 503: %v, want %v", seen503, tt.status == 503)
			}
			if !bytes.Equal(*got.Load(), content) {
				t.Errorf("the good server got %d bytes, want the body's %d", len(*got.Load()), len(content))
			}
		})
	}
}

// The last response there was comes back, with its body, even when a later
// attempt could not dial.
func TestLastResponseComesBack(t *testing.T) {
	bad, gone := newServer(t, status(503)), newServer(t, hello)
	gone.kill()
	mesh := newMesh(t, []*server{bad, gone}, fairlead.WithBalancer(balancer.RoundRobin()))
	for range 4 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); resp.StatusCode != 503 || got != http.StatusText(http.StatusServiceUnavailable) {
			t.Errorf("status %d and body %q, want the 503 whole", resp.StatusCode, got)
		}
	}
	settled(t, mesh)
}

// Losing responses are drained and closed: their connections are used again.
func TestLosingResponsesKeepTheirConnections(t *testing.T) {
	bad, good := newServer(t, status(503)), newServer(t, hello)
	mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker())
	for range 20 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		settled(t, mesh)
	}
	if n := bad.conns.Load(); n > 1 {
		t.Errorf("%d connections for %d losing responses, want one", n, bad.calls.Load())
	}
}

// In virtual time: Retry-After matters to the call only where no other endpoint
// is left, and not for long.
func TestRetryAfter(t *testing.T) {
	overloaded := func(value string) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) { return respond(req, 503, "Retry-After", value), nil }
	}
	tests := []struct {
		name      string
		endpoints int
		value     string
		deadline  time.Duration
		min, max  time.Duration
		status    int
	}{
		{"another is left", 2, "5", 0, 0, 25 * time.Millisecond, 200},
		{"seconds", 1, "2", 0, 2 * time.Second, 3 * time.Second, 503},
		{"a date", 1, "Sat, 01 Jan 2000 00:00:04 GMT", 0, 4 * time.Second, 6 * time.Second, 503},
		{"too long", 1, "11", 0, 0, 0, 503},
		{"absurd", 1, "99999999999999999999999", 0, 0, 0, 503},
		{"past the deadline", 1, "5", time.Second, 0, 0, 503},
		{"nonsense is no advice", 1, "soon", 0, 0, 25 * time.Millisecond, 503},
		{"in the past", 1, "Sat, 01 Jan 1994 00:00:00 GMT", 0, 0, 25 * time.Millisecond, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(tt.endpoints)
				mesh := f.mesh(t, fairlead.WithBalancer(balancer.RoundRobin()))
				for _, e := range f.endpoints {
					e.does(after(0, 200))
				}
				f.endpoints[0].does(overloaded(tt.value))
				for range tt.endpoints {
					ctx := t.Context()
					if tt.deadline > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, tt.deadline)
						defer cancel()
					}
					began := time.Now()
					resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
					if err != nil {
						t.Fatal(err)
					}
					readAll(t, resp)
					if resp.StatusCode != tt.status {
						t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
					}
					if took := time.Since(began); took < tt.min && tt.endpoints == 1 || took > tt.max {
						t.Errorf("took %v, want %v to %v", took, tt.min, tt.max)
					}
				}
			})
		})
	}
}

// A 503 with Retry-After takes its endpoint out for that long.
func TestRetryAfterCoolsTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		mesh := f.mesh(t)
		f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
			return respond(req, 503, "Retry-After", "5"), nil
		})
		for f.endpoints[0].served.Load() == 0 {
			if !succeeds(mesh) {
				t.Fatal("a call failed")
			}
		}
		time.Sleep(3 * time.Millisecond)
		began := time.Now()
		for time.Since(began) < 4900*time.Millisecond {
			if !succeeds(mesh) {
				t.Fatal("a call failed")
			}
		}
		if n := f.endpoints[0].served.Load(); n != 1 {
			t.Errorf("the cooling endpoint had %d calls, want only the first", n)
		}
		for range 50 {
			succeeds(mesh)
		}
		if n := f.endpoints[0].served.Load(); n < 2 {
			t.Error("the endpoint is out longer than it asked for")
		}
	})
}

// Each attempt goes to another endpoint as long as there is one.
func TestEachAttemptElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, policy := range policies() {
			f := newFleet(5)
			for _, e := range f.endpoints {
				e.does(after(0, 503))
			}
			mesh := f.mesh(t, fairlead.WithBalancer(policy), fairlead.WithRetry(retry.Config{Attempts: 5}))
			succeeds(mesh)
			for _, e := range f.endpoints {
				if n := e.served.Load(); n != 1 {
					t.Errorf("%s: an endpoint had %d of 5 attempts, want 1", policy.Name(), n)
				}
			}
		}
	})
}

// When everything fails, retries stay within the budget, and the error says so.
func TestBudgetEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		for _, e := range f.endpoints {
			e.does(dead)
		}
		mesh := f.mesh(t, fairlead.WithoutBreaker())
		const calls = 1000
		refused := 0
		for range calls {
			_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
			if errors.Is(err, retry.ErrBudget) && errors.Is(err, errDead) {
				refused++
			}
		}
		if n := f.attempts(); n > calls*12/10+12 {
			t.Errorf("%d attempts for %d calls, want at most a fifth more and the burst", n, calls)
		}
		if want := calls*8/10 - 12; refused < want {
			t.Errorf("%d errors have retry.ErrBudget and the cause, want %d", refused, want)
		}
	})
}

func TestOverrideEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(5)
		mesh := f.mesh(t)
		ctx := fairlead.WithOverride(t.Context(), fairlead.Override{Endpoint: f.endpoints[3].addr})
		for range 20 {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
		}
		if n := f.endpoints[3].served.Load(); n != 20 {
			t.Errorf("the pinned endpoint had %d of 20 calls", n)
		}
		ctx = fairlead.WithOverride(t.Context(), fairlead.Override{Endpoint: "nobody"})
		_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
		if !errors.Is(err, balancer.ErrNoEndpoints) || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("error %v, want ErrNoEndpoints that names the endpoint", err)
		}
	})
}

func TestOverrideAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		f.endpoints[0].does(after(time.Second, 200))
		mesh := f.mesh(t, fairlead.WithRetry(retry.Config{Attempts: 1, AttemptTimeout: 100 * time.Millisecond}))
		call := func(o fairlead.Override) error {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(fairlead.WithOverride(t.Context(), o)))
			if err == nil {
				readAll(t, resp)
			}
			return err
		}
		if err := call(fairlead.Override{}); !errors.Is(err, fairlead.ErrAttemptTimeout) {
			t.Errorf("error %v, want ErrAttemptTimeout", err)
		}
		if err := call(fairlead.Override{AttemptTimeout: 2 * time.Second}); err != nil {
			t.Errorf("a longer limit for this call: %v", err)
		}
		if err := call(fairlead.Override{AttemptTimeout: -1}); err != nil {
			t.Errorf("no limit for this call: %v", err)
		}
	})
}

func TestMiddlewareOrder(t *testing.T) {
	var order []string
	mark := func(name string) func(http.RoundTripper) http.RoundTripper {
		return func(next http.RoundTripper) http.RoundTripper {
			return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				order = append(order, name)
				return next.RoundTrip(req)
			})
		}
	}
	f := newFleet(2)
	f.endpoints[0].does(after(0, 503))
	f.endpoints[1].does(after(0, 503))
	mesh := f.mesh(t,
		fairlead.WithMiddleware(mark("outer")), fairlead.WithMiddleware(mark("inner")),
		fairlead.WithAttemptMiddleware(mark("attempt")), fairlead.WithAttemptMiddleware(mark("wire")),
		fairlead.WithTimeout(time.Minute))
	resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	want := []string{"outer", "inner", "attempt", "wire", "attempt", "wire"}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	settled(t, mesh)
}

// A middleware may answer by itself, and may send more than once.
func TestMiddlewareSendsTwiceOrNever(t *testing.T) {
	f := newFleet(1)
	mesh := f.mesh(t, fairlead.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/cached" {
				return respond(req, 200), nil
			}
			resp, err := next.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			resp.Body.Close()
			return next.RoundTrip(req.Clone(req.Context()))
		})
	}))
	for path, want := range map[string]int64{"/cached": 0, "/twice": 2} {
		before := f.attempts()
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users"+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		if n := f.attempts() - before; n != want {
			t.Errorf("%s: %d attempts, want %d", path, n, want)
		}
	}
	settled(t, mesh)
}
