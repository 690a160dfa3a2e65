package fairlead_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

const ms = time.Millisecond

// after20 hedges what has waited for 20 ms.
var after20 = fairlead.WithHedge(retry.Hedge{After: 20 * ms})

// slowFirst makes the first request be answered by slow, and all others by fast,
// whatever endpoint they come to.
func (f *fleet) slowFirst(slow, fast func(*http.Request) (*http.Response, error)) {
	var n atomic.Int64
	for _, e := range f.endpoints {
		e.does(func(req *http.Request) (*http.Response, error) {
			if n.Add(1) == 1 {
				return slow(req)
			}
			return fast(req)
		})
	}
}

func TestHedge(t *testing.T) {
	broken := func(d time.Duration) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			if resp, err := after(d, 200)(req); err != nil {
				return resp, err
			}
			return nil, errDead
		}
	}
	tests := []struct {
		name       string
		slow, fast func(*http.Request) (*http.Response, error) // of the first attempt and the others
		status     int                                         // 0: an error
		took       time.Duration                               // and up to 25 ms of back-off more
		attempts   int64
	}{
		{"the first is fast enough", after(19*ms, 200), after(0, 200), 200, 19 * ms, 1},
		{"the second is faster", after(time.Second, 200), after(5*ms, 201), 201, 25 * ms, 2},
		{"the first is faster", after(30*ms, 200), after(15*ms, 201), 200, 30 * ms, 2},
		{"the first failed before", after(10*ms, 503), after(5*ms, 201), 201, 15 * ms, 2},
		{"the second fails", after(50*ms, 200), after(5*ms, 503), 200, 50 * ms, 2},
		{"the second has no connection", after(50*ms, 200), dead, 200, 50 * ms, 2},
		{"the first fails, then the second answers", after(30*ms, 503), after(20*ms, 201), 201, 40 * ms, 2},
		{"the first breaks, then the second answers", broken(30 * ms), after(20*ms, 201), 201, 40 * ms, 2},
		{"an answer that nobody would send again is not waited for either", after(50*ms, 404), after(50*ms, 200), 404, 50 * ms, 2},
		{"a plain 500 waits for the other", after(30*ms, 500), after(20*ms, 201), 201, 40 * ms, 2},
		{"both fail, and a retry too", after(30*ms, 503), after(20*ms, 503), 503, 60 * ms, 3},
		{"the second fails before the first", after(50*ms, 503), after(5*ms, 503), 503, 55 * ms, 3},
		{"both fail and the retry answers last", after(50*ms, 503), dead, 503, 50 * ms, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(4)
				mesh := f.mesh(t, after20)
				f.slowFirst(tt.slow, tt.fast)
				began := time.Now()
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				took := time.Since(began)
				status := 0
				if err == nil {
					status = resp.StatusCode
					if body := readAll(t, resp); body != "body" {
						t.Errorf("the body is %q", body)
					}
				}
				if status != tt.status {
					t.Errorf("status %d, error %v, want status %d", status, err, tt.status)
				}
				if took < tt.took || took > tt.took+25*ms {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if n := f.attempts(); n != tt.attempts {
					t.Errorf("%d attempts, want %d", n, tt.attempts)
				}
				atRest(t, mesh)
			})
		})
	}
}

// atRest checks that nothing is in flight any more.
func atRest(t *testing.T, mesh *fairlead.Mesh) {
	t.Helper()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	for _, s := range mesh.Status().Services {
		if s.InFlight != 0 {
			t.Errorf("%d calls in flight", s.InFlight)
		}
		for _, e := range s.Endpoints {
			if e.InFlight != 0 || e.State != balancer.Ready {
				t.Errorf("endpoint %s is %s with %d attempts in flight", e.ID, e.State, e.InFlight)
			}
		}
	}
}

// What is not safe, can be sent but once, or has only one place to go is not hedged.
func TestNotHedged(t *testing.T) {
	slow := after(100*ms, 200)
	for _, tt := range []struct {
		name      string
		endpoints int
		opts      []fairlead.Option
		override  fairlead.Override
		method    string
		body      io.Reader
		header    string
		want      int64 // attempts
	}{
		{"it would be", 2, nil, fairlead.Override{}, http.MethodGet, nil, "", 2},
		{"a body that can be had again", 2, nil, fairlead.Override{}, http.MethodPut, strings.NewReader("x"), "", 2},
		{"a body that cannot", 2, nil, fairlead.Override{}, http.MethodPut, struct{ io.Reader }{strings.NewReader("x")}, "", 1},
		{"POST", 2, nil, fairlead.Override{}, http.MethodPost, strings.NewReader("x"), "", 1},
		{"POST with a key", 2, nil, fairlead.Override{}, http.MethodPost, strings.NewReader("x"), "Idempotency-Key", 2},
		{"retry allowed", 2, nil, fairlead.Override{Retry: fairlead.RetryAllowed}, http.MethodPost, strings.NewReader("x"), "", 2},
		{"retry forbidden", 2, nil, fairlead.Override{Retry: fairlead.RetryForbidden}, http.MethodGet, nil, "", 1},
		{"without retries", 2, []fairlead.Option{fairlead.WithoutRetry()}, fairlead.Override{}, http.MethodGet, nil, "", 2},
		{"one endpoint", 1, nil, fairlead.Override{}, http.MethodGet, nil, "", 1},
		{"pinned", 2, nil, fairlead.Override{Endpoint: "a:80"}, http.MethodGet, nil, "", 1},
		{"an upgrade", 2, nil, fairlead.Override{}, http.MethodGet, nil, "Upgrade", 1},
		{"no budget", 2, []fairlead.Option{fairlead.WithRetry(retry.Config{Budget: retry.Budget{Ratio: 1e-9, Burst: -1}})}, fairlead.Override{}, http.MethodGet, nil, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(tt.endpoints)
				for _, e := range f.endpoints {
					e.does(slow)
				}
				mesh := f.mesh(t, append(tt.opts, after20)...)
				req := request(t, tt.method, "http://users/", tt.body)
				if tt.header != "" {
					req.Header.Set(tt.header, "x")
				}
				resp, err := mesh.RoundTrip(req.WithContext(fairlead.WithOverride(t.Context(), tt.override)))
				if err != nil {
					t.Fatal(err)
				}
				readAll(t, resp)
				if n := f.attempts(); n != tt.want {
					t.Errorf("%d attempts, want %d", n, tt.want)
				}
				atRest(t, mesh)
			})
		})
	}
}

// Both attempts carry the whole body, and the second goes elsewhere.
func TestHedgeSendsTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		const size = 100_000
		for _, e := range f.endpoints {
			e.does(func(req *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(req.Body)
				if err != nil || len(body) != size {
					t.Errorf("the body has %d bytes (%v)", len(body), err)
				}
				return after(100*ms, 200)(req)
			})
		}
		mesh := f.mesh(t, after20)
		resp, err := mesh.RoundTrip(request(t, http.MethodPut, "http://users/", bytes.NewReader(make([]byte, size))))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		for _, e := range f.endpoints {
			if n := e.served.Load(); n != 1 {
				t.Errorf("endpoint %s had %d attempts, want 1", e.addr, n)
			}
		}
	})
}

// closing counts the bodies that were closed.
type closing struct {
	io.Reader
	closed *atomic.Int64
}

func (c closing) Close() error {
	c.closed.Add(1)
	return nil
}

// Both attempts are answered at the same moment: one answer is handed out, the
// other's body is closed, and both endpoints are free.
func TestHedgeClosesTheLosersBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		var opened, closed atomic.Int64
		late := func(d time.Duration) func(*http.Request) (*http.Response, error) {
			return func(req *http.Request) (*http.Response, error) {
				time.Sleep(d) // whatever the context says
				resp := respond(req, 200)
				resp.Body = closing{strings.NewReader("body"), &closed}
				opened.Add(1)
				return resp, nil
			}
		}
		f.slowFirst(late(50*ms), late(30*ms))
		mesh := f.mesh(t, after20)
		for i := range 50 {
			f.slowFirst(late(50*ms+time.Duration(i%3-1)), late(30*ms))
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
		}
		atRest(t, mesh)
		if opened.Load() != closed.Load() || opened.Load() <= 50 {
			t.Errorf("%d bodies opened, %d closed", opened.Load(), closed.Load())
		}
	})
}

// The caller goes away while both attempts are under way: its error, and nobody's failure.
func TestHedgeOfACallerWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		for _, e := range f.endpoints {
			e.does(after(time.Minute, 200))
		}
		mesh := f.mesh(t, after20)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
			_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("error %v, want the context's", err)
			}
		}
		atRest(t, mesh) // no breaker is open
		if n := f.attempts(); n <= 20 {
			t.Errorf("%d attempts: nothing was hedged", n)
		}
	})
}

// A cancelled attempt fails nobody: an endpoint that is slow for ever keeps its
// breaker closed, and its spans are no errors.
func TestHedgedAttemptsAreNoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, opts := newTelemetry()
		f := newFleet(3)
		f.endpoints[0].does(after(time.Second, 200))
		mesh := f.mesh(t, append(opts, after20, fairlead.WithBalancer(balancer.RoundRobin()))...)
		for range 60 {
			if !succeeds(mesh) {
				t.Error("a call failed")
			}
		}
		atRest(t, mesh)
		hedged := 0
		for _, span := range tel.spans.GetSpans() {
			if span.Status.Code == codes.Error || attr(span.Attributes, "error.type") != "" {
				t.Errorf("the span %s is an error: %v", span.Name, span.Attributes)
			}
			if attr(span.Attributes, "fairlead.pick.reason") == "hedge" {
				hedged++
			}
		}
		if hedged < 20 {
			t.Errorf("%d spans of hedges, want 20", hedged)
		}
		if won := tel.count(t, "fairlead.hedges", "fairlead.result", "won"); won != int64(hedged) {
			t.Errorf("fairlead.hedges counts %d won, want %d", won, hedged)
		}
	})
}

// A fault that makes everything slow is met with hedges within the budget only.
func TestHedgesStayInTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(4)
		for _, e := range f.endpoints {
			e.does(after(100*ms, 200))
		}
		mesh := f.mesh(t, after20)
		const calls = 1000
		for range calls {
			succeeds(mesh)
		}
		// 100 s of calls: the burst comes back at one a second.
		if n := f.attempts(); n > calls*12/10+10+110 || n < calls*12/10 {
			t.Errorf("%d attempts for %d calls", n, calls)
		}
	})
}

// Panics of the user's code on the hedge's goroutine do not end the process.
func TestHedgeThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		f.slowFirst(after(50*ms, 200), func(*http.Request) (*http.Response, error) { panic("oh") })
		if !succeeds(mesh) {
			t.Error("the first attempt's answer is lost")
		}
		atRest(t, mesh)
	})
}

// A panic on the caller's goroutine ends the hedge too.
func TestHedgeOfACallThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		f.slowFirst(func(*http.Request) (*http.Response, error) {
			time.Sleep(50 * ms)
			panic("oh")
		}, after(time.Minute, 200))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			succeeds(mesh)
		}()
		atRest(t, mesh)
	})
}

// It does so even where the second has answered already: its body is closed.
func TestHedgeThatWonForACallThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		var closed atomic.Int64
		f.slowFirst(func(*http.Request) (*http.Response, error) {
			time.Sleep(50 * ms) // whatever the context says
			panic("oh")
		}, func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200)
			resp.Body = closing{strings.NewReader("body"), &closed}
			return resp, nil
		})
		func() {
			defer func() { _ = recover() }()
			succeeds(mesh)
		}()
		atRest(t, mesh)
		if closed.Load() != 1 {
			t.Error("the second attempt's body is open")
		}
	})
}

// Close ends hedged calls; Shutdown waits for them.
func TestHedgeAndTheEndOfTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		f.slowFirst(after(time.Minute, 200), after(time.Second, 200))
		done := make(chan bool, 1)
		go func() { done <- succeeds(mesh) }()
		time.Sleep(100 * ms)
		if err := mesh.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if !<-done {
			t.Error("the call failed")
		}
	})
}

// One that is slow by nature is found out without an option but WithHedge.
func TestHedgeByQuantile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(10)
		mesh := f.mesh(t, fairlead.WithHedge(retry.Hedge{Quantile: 0.95}), fairlead.WithBalancer(balancer.RoundRobin()))
		run := func(calls int) (slowest time.Duration) {
			for range calls {
				began := time.Now()
				succeeds(mesh)
				slowest = max(slowest, time.Since(began))
			}
			return slowest
		}
		run(600) // 6 s
		f.endpoints[0].does(after(time.Second, 200))
		before := f.attempts()
		if slowest := run(300); slowest > 40*ms {
			t.Errorf("the slowest call took %v, want 20 ms: the hedge's", slowest)
		}
		if n := f.attempts() - before - 300; n < 29 || n > 45 {
			t.Errorf("%d hedges of 300 calls, want one of ten", n)
		}
	})
}

// A loser does not look at the request of a call that is over.
func TestHedgeHasAHeaderOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		over := make(chan struct{})
		f.slowFirst(after(30*ms, 200), func(req *http.Request) (*http.Response, error) {
			<-over // whatever the context says
			if req.Header.Get("X-Next") != "" {
				t.Error("the hedge would send the header of the next call")
			}
			return nil, context.Cause(req.Context())
		})
		req := request(t, http.MethodGet, "http://users/", nil)
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		req.Header.Set("X-Next", "1") // the body was closed
		close(over)
		atRest(t, mesh)
		if n := f.attempts(); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

// Nor does a transport that still looks at the request of an attempt which was cut short,
// as that of HTTP/2 does, see what the caller makes of it.
func TestCutShortAttemptHasARequestOfItsOwn(t *testing.T) {
	for name, opt := range map[string]fairlead.Option{
		"overtaken":  after20,
		"time limit": fairlead.WithRetry(retry.Config{AttemptTimeout: 20 * ms}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cut *http.Request
				f := newFleet(2)
				f.slowFirst(func(req *http.Request) (*http.Response, error) {
					cut = req
					return after(time.Second, 200)(req)
				}, after(0, 200))
				mesh := f.mesh(t, opt)
				req := request(t, http.MethodGet, "http://users/", nil)
				resp, err := mesh.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				readAll(t, resp)
				req.Header.Set("X-Next", "1") // the body was closed
				req.URL.Path = "/next"
				if cut.Header.Get("X-Next") != "" || cut.URL.Path != "/" {
					t.Errorf("the first attempt would ask for %s with %v", cut.URL.Path, cut.Header)
				}
				if n := f.attempts(); n != 2 {
					t.Errorf("%d attempts, want 2", n)
				}
			})
		})
	}
}

// A hedge goes elsewhere or not at all.
func TestHedgeGoesElsewhereOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20, fairlead.WithLimit(breaker.Limit{Endpoint: 2}))
		f.endpoints[1].does(after(time.Hour, 200))
		for range 2 {
			go func() {
				req := request(t, http.MethodGet, "http://users/", nil)
				mesh.RoundTrip(req.WithContext(fairlead.WithOverride(req.Context(), fairlead.Override{Endpoint: "b:80"})))
			}()
		}
		synctest.Wait()
		f.endpoints[0].does(after(time.Second, 200))
		before := f.endpoints[0].served.Load()
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := f.endpoints[0].served.Load() - before; n != 1 {
			t.Errorf("the slow endpoint got %d attempts of one call, its hedge too", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// Close does not wait for a hedge.
func TestCloseDoesNotWaitForAHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		f.slowFirst(after(time.Hour, 200), after(time.Hour, 200))
		go mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		time.Sleep(time.Second)
		t.Log("attempts", f.attempts())
		began := time.Now()
		mesh.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// A second attempt that failed lets its endpoint go, however long the first takes.
func TestFailedSecondIsLetGo(t *testing.T) {
	for name, fails := range map[string]func(*http.Request) (*http.Response, error){"503": after(0, 503), "error": dead} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				mesh := f.mesh(t, after20, fairlead.WithLimit(breaker.Limit{Endpoint: 1, Queue: -1}))
				f.slowFirst(after(time.Hour, 200), fails)
				answered := make(chan bool, 1)
				go func() { answered <- succeeds(mesh) }()
				time.Sleep(time.Minute)
				inFlight := 0
				for _, e := range mesh.Status().Services[0].Endpoints {
					inFlight += e.InFlight
				}
				if inFlight != 1 {
					t.Errorf("%d attempts are in flight, want the first alone", inFlight)
				}
				if !<-answered {
					t.Error("the first attempt's answer is not the call's")
				}
				atRest(t, mesh)
			})
		})
	}
}

// Where the first attempt fails too, after the second did, the call goes on from
// there, and not to the second's endpoint.
func TestBothAttemptsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		mesh := f.mesh(t, after20, fairlead.WithRetry(retry.Config{Attempts: 2}))
		var calls atomic.Int32
		for _, e := range f.endpoints {
			e.does(func(req *http.Request) (*http.Response, error) {
				switch calls.Add(1) {
				case 1:
					return after(time.Second, 503)(req)
				case 2:
					return dead(req)
				}
				return ok(req)
			})
		}
		if !succeeds(mesh) {
			t.Error("the third endpoint would have answered")
		}
		for _, e := range f.endpoints {
			if n := e.served.Load(); n != 1 {
				t.Errorf("endpoint %s was tried %d times, want once", e.addr, n)
			}
		}
		atRest(t, mesh)
	})
}

// Code of the user's that ends the goroutine of a second attempt leaves nothing behind.
func TestHedgeThatGoesAway(t *testing.T) {
	for name, first := range map[string]func(*http.Request) (*http.Response, error){"answered": after(50*ms, 200), "failed": after(50*ms, 503)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				mesh := f.mesh(t, after20, fairlead.WithRetry(retry.Config{Attempts: 1}))
				f.slowFirst(first, func(*http.Request) (*http.Response, error) { runtime.Goexit(); return nil, nil })
				if got := succeeds(mesh); got != (name == "answered") {
					t.Errorf("the call succeeds: %v, with a first attempt that %s", got, name)
				}
				atRest(t, mesh)
			})
		})
	}
}

// When a call is over its request is its caller's again, though the second attempt
// fails at the very moment.
func TestHedgeLeavesTheRequestAlone(t *testing.T) {
	var calls atomic.Int32
	f := newFleet(2)
	for _, e := range f.endpoints {
		e.does(func(req *http.Request) (*http.Response, error) {
			if calls.Add(1)%2 == 1 {
				time.Sleep(2 * ms)
				return respond(req, 200), nil
			}
			time.Sleep(ms)
			return nil, errDead
		})
	}
	mesh := f.mesh(t, fairlead.WithHedge(retry.Hedge{After: ms}), fairlead.WithRetry(retry.Config{Attempts: 1}), fairlead.WithoutBreaker())
	for range 300 {
		calls.Store(0)
		req := request(t, http.MethodGet, "http://users/", nil)
		for i := range 50 {
			req.Header.Set(fmt.Sprint("X-", i), "value")
		}
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		for i := range 50 {
			req.Header.Set(fmt.Sprint("X-", i), "the caller's")
		}
	}
}

// A node that made the calls of one moment wait, which were all hedged, is not exiled.
func TestHiccupIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20, fairlead.WithBalancer(balancer.PeakEWMA()))
		load := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			f.load(ctx, mesh, 8)
		}
		load(20 * time.Second)
		a := f.endpoints[0]
		a.does(after(100*ms, 200))
		var moment sync.WaitGroup
		for range 20 {
			moment.Go(func() { succeeds(mesh) })
		}
		time.Sleep(ms)
		a.does(ok)
		moment.Wait()
		load(10 * time.Second)
		before, all := a.served.Load(), f.attempts()
		load(10 * time.Second)
		share := float64(a.served.Load()-before) / float64(f.attempts()-all)
		t.Logf("%.1f %% from 10 s on", share*100)
		if share < 0.3 {
			t.Errorf("it gets %.1f %% of the calls from 10 s on, want about half", share*100)
		}
	})
}

// startPanics is a tracer that panics when the second attempt's span begins.
type startPanics struct {
	noop.TracerProvider
	attempts *atomic.Int32
}

func (p startPanics) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return startPanicsTracer{attempts: p.attempts}
}

type startPanicsTracer struct {
	noop.Tracer
	attempts *atomic.Int32
}

func (p startPanicsTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if c := trace.NewSpanStartConfig(opts...); c.SpanKind() == trace.SpanKindClient && p.attempts.Add(1) == 2 {
		panic("mine")
	}
	return p.Tracer.Start(ctx, name, opts...)
}

// slowLog takes its time.
type slowLog struct{ slog.Handler }

func (slowLog) Enabled(context.Context, slog.Level) bool  { return true }
func (slowLog) Handle(context.Context, slog.Record) error { time.Sleep(50 * ms); return nil }

// A second attempt that comes to nothing before it is sent takes nothing from the first.
func TestHedgeWhoseStartPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20, fairlead.WithTracerProvider(startPanics{attempts: new(atomic.Int32)}),
			fairlead.WithLogger(slog.New(slowLog{slog.DiscardHandler})))
		f.slowFirst(after(40*ms, 200), ok)
		if !succeeds(mesh) {
			t.Error("the first attempt's answer is lost")
		}
		atRest(t, mesh)
	})
}

// reportPanics is a policy whose picker panics, slowly, at the first failure.
type reportPanics struct {
	balancer.Policy
	did *atomic.Bool
}

func (p reportPanics) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return reportPanicsPicker{p.Policy.NewPicker(nodes, nil), p.did}
}

type reportPanicsPicker struct {
	balancer.Picker
	did *atomic.Bool
}

func (p reportPanicsPicker) Observe(_ *balancer.Node, o balancer.Outcome, _ time.Duration) {
	if o.Verdict == balancer.Failure && p.did.CompareAndSwap(false, true) {
		time.Sleep(50 * ms)
		panic("mine")
	}
}

// A second attempt that fails while its call panics leaves nothing behind.
func TestHedgeOfACallThatPanicsBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20, fairlead.WithBalancer(reportPanics{balancer.RoundRobin(), new(atomic.Bool)}))
		f.slowFirst(after(30*ms, 503), after(30*ms, 503))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("nothing panicked")
				}
			}()
			succeeds(mesh)
		}()
		atRest(t, mesh)
	})
}

// A hedge that can neither be prepared nor sent leaves the caller's body to the first
// attempt, which is sending it.
func TestHedgeThatCannotBeSentLeavesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := newBody("content")
		var made atomic.Int64
		mesh, err := fairlead.New(discovery.Services{"users": discovery.Addrs("a:80", "b:80")}, after20,
			fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) {
				if made.Add(1) > 1 {
					return nil, errDead
				}
				return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
					time.Sleep(time.Second)
					if content.closed.Load() > 0 {
						t.Error("the body was closed while it was sent")
					}
					return respond(req, http.StatusOK), nil
				}), nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer mesh.Close()
		req := request(t, http.MethodPut, "http://users/", content)
		req.GetBody = func() (io.ReadCloser, error) { return nil, errDead }
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		if n := made.Load(); n != 2 {
			t.Errorf("%d transports, want that the hedge asked for the second", n)
		}
	})
}
