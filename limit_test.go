package fairlead_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

// gauge knows how many are inside, and how many were at most.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for m := g.most.Load(); n > m; m = g.most.Load() {
		g.most.CompareAndSwap(m, n)
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// No endpoint ever has more than its limit, no service more than its own, over real
// connections; nobody fails as long as there is room in the queue.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		limit             breaker.Limit
		endpoint, service int64 // at most
	}{
		{breaker.Limit{Endpoint: 3}, 3, 9},
		{breaker.Limit{Service: 4}, 4, 4},
		{breaker.Limit{Endpoint: 2, Service: 5}, 2, 5},
		{breaker.Limit{Endpoint: 1}, 1, 3},
	} {
		for _, policy := range []balancer.Policy{balancer.P2C(), balancer.RoundRobin(), balancer.LeastConn(), balancer.PeakEWMA()} {
			t.Run(fmt.Sprintf("%+v/%s", tt.limit, policy.Name()), func(t *testing.T) {
				var all gauge
				gauges := make([]gauge, 3)
				var servers []*server
				for i := range gauges {
					servers = append(servers, newServer(t, func(w http.ResponseWriter, r *http.Request) {
						all.enter()
						gauges[i].enter()
						time.Sleep(time.Millisecond)
						gauges[i].leave()
						all.leave()
						hello(w, r)
					}))
				}
				mesh := newMesh(t, servers, fairlead.WithLimit(tt.limit), fairlead.WithBalancer(policy))
				var wg sync.WaitGroup
				for range 64 {
					wg.Go(func() {
						for range 10 {
							resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
							if err != nil {
								t.Error(err)
								return
							}
							readAll(t, resp)
						}
					})
				}
				wg.Wait()
				for i := range gauges {
					if most := gauges[i].most.Load(); most > tt.endpoint || most == 0 {
						t.Errorf("an endpoint had %d calls at a time, want at most %d", most, tt.endpoint)
					}
				}
				if most := all.most.Load(); most > tt.service {
					t.Errorf("the service had %d calls at a time, want at most %d", most, tt.service)
				}
				settled(t, mesh)
			})
		}
	}
}

// held makes calls that stay in flight until they are let go.
func (f *fleet) held(t *testing.T, mesh *fairlead.Mesh, n int) (release func()) {
	t.Helper()
	var bodies []io.Closer
	for range n {
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
	}
	return func() {
		for _, b := range bodies {
			b.Close()
		}
	}
}

// What waits gets its turn in order, its deadline or the Mesh's end; what finds no
// place in the queue fails at once. Nobody is blamed for it.
func TestQueue(t *testing.T) {
	for _, limit := range []breaker.Limit{{Service: 4, Queue: 2}, {Endpoint: 2, Queue: 2}} {
		t.Run(fmt.Sprintf("%+v", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				mesh := f.mesh(t, fairlead.WithLimit(limit), fairlead.WithTimeout(time.Minute))
				release := f.held(t, mesh, 4)
				turns := make(chan string, 10)
				call := func(name string, ctx context.Context) {
					resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
					switch {
					case err == nil:
						resp.Body.Close()
						turns <- name
					case errors.Is(err, breaker.ErrLimit):
						turns <- name + ": limit"
					default:
						turns <- name + ": " + err.Error()
					}
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				go call("first", t.Context())
				synctest.Wait()
				go call("second", short)
				synctest.Wait()
				go call("third", t.Context())
				if got := <-turns; got != "third: limit" {
					t.Errorf("one too many: %q", got)
				}
				if n := f.attempts(); n != 4 {
					t.Errorf("%d attempts, want 4", n)
				}
				if got := <-turns; got != "second: context deadline exceeded" {
					t.Errorf("the one with a deadline of 1 s: %q", got)
				}
				go call("fourth", t.Context())
				synctest.Wait()
				release()
				if a, b := <-turns, <-turns; min(a, b) != "first" || max(a, b) != "fourth" {
					t.Errorf("turns: %s, %s", a, b)
				}
				// Our own deadline says both: that it was one, and what was waited for.
				release = f.held(t, mesh, 4)
				_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				if !errors.Is(err, fairlead.ErrTimeout) || !errors.Is(err, breaker.ErrLimit) {
					t.Errorf("error %v, want ErrTimeout and ErrLimit", err)
				}
				go call("last", t.Context())
				synctest.Wait()
				mesh.Close()
				if got := <-turns; !strings.Contains(got, fairlead.ErrClosed.Error()) {
					t.Errorf("closed: %q", got)
				}
				release()
				for _, s := range mesh.Status().Services {
					for _, e := range s.Endpoints {
						if e.State != balancer.Ready {
							t.Errorf("endpoint %s is %s", e.ID, e.State)
						}
					}
				}
			})
		})
	}
}

// A retry that finds all others full is not made: what the first attempt brought is
// the call's.
func TestNoRetryWhereAllAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}), fairlead.WithBalancer(balancer.RoundRobin()))
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for _, e := range f.endpoints {
			e.does(after(0, 503))
		}
		began := time.Now()
		failed, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil || failed.StatusCode != 503 {
			t.Fatalf("%v, %v", failed, err)
		}
		failed.Body.Close()
		if took := time.Since(began); took > 30*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// More endpoints mean more room: who waits need not wait for an end.
func TestRoomByAnotherEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(4)
		registry := discovery.NewRegistry()
		register := func(i int) {
			if _, err := registry.Register(t.Context(), "users", discovery.Endpoint{Addr: f.endpoints[i].addr}); err != nil {
				t.Fatal(err)
			}
		}
		register(0)
		mesh := newMeshOver(t, registry, fairlead.WithLimit(breaker.Limit{Endpoint: 1}), fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) {
			return roundTrip(func(req *http.Request) (*http.Response, error) { return respond(req, 200), nil }), nil
		}))
		release := f.held(t, mesh, 1)
		defer release()
		var done atomic.Int64
		for range 3 {
			go func() {
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				done.Add(1)
				time.Sleep(time.Hour)
			}()
		}
		synctest.Wait()
		if done.Load() != 0 {
			t.Fatal("a call found room where there was none")
		}
		for i := range 3 {
			register(i + 1)
		}
		time.Sleep(5 * time.Second)
		if done.Load() != 3 {
			t.Errorf("%d of 3 calls found room at 3 new endpoints", done.Load())
		}
		time.Sleep(time.Hour)
	})
}

// Upgraded connections give their place back.
func TestUpgradesDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		f.endpoints[0].does(func(req *http.Request) (*http.Response, error) { return respond(req, 101), nil })
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1, Service: 1, Queue: -1}))
		release := f.held(t, mesh, 5)
		release()
		f.endpoints[0].does(ok)
		release = f.held(t, mesh, 1)
		if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); !errors.Is(err, breaker.ErrLimit) {
			t.Errorf("error %v, want ErrLimit", err)
		}
		release()
		release = f.held(t, mesh, 1)
		release()
	})
}

// A limit costs nobody who has none, and little those who have one.
func TestLimitAllocatesLittle(t *testing.T) {
	without, with := instantMesh(t).Client(), instantMesh(t, fairlead.WithLimit(breaker.Limit{Service: 10, Endpoint: 10})).Client()
	a, b := testing.AllocsPerRun(300, func() { get(t, without) }), testing.AllocsPerRun(300, func() { get(t, with) })
	if b > a {
		t.Errorf("%v allocations with a limit, %v without", b, a)
	}
}

// A call that got its place so late that it cannot finish blames nobody.
func TestQueuedCallsBlameNobody(t *testing.T) {
	for _, limit := range []breaker.Limit{{Service: 4}, {Endpoint: 2}} {
		t.Run(fmt.Sprintf("%+v", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				for _, e := range f.endpoints {
					e.does(after(100*ms, 200))
				}
				mesh := f.mesh(t, fairlead.WithLimit(limit), fairlead.WithTimeout(250*ms))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				f.load(ctx, mesh, 16)
				for _, e := range f.endpoints {
					if s := stateOf(mesh, e.addr); s != balancer.Ready {
						t.Errorf("endpoint %s is %s", e.addr, s)
					}
				}
				atRest(t, mesh)
			})
		})
	}
}

// Calls that are never sent earn no retries.
func TestUnsentCallsEarnNoRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		for _, e := range f.endpoints {
			e.does(dead)
		}
		mesh := f.mesh(t)
		for range 1000 {
			succeeds(mesh)
		}
		if left := mesh.Status().Services[0].RetryBudget; left > 15 {
			t.Errorf("%v retries are left after calls of which nearly none was sent", left)
		}
	})
}

// Request.Cancel ends the wait for room.
func TestRequestCancelEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
		release := f.held(t, mesh, 1)
		cancel := make(chan struct{})
		req := request(t, http.MethodGet, "http://users/", nil)
		//lint:ignore SA1019 it is deprecated, and still in use
		req.Cancel = cancel //nolint:staticcheck // it is deprecated, and still in use
		var ended atomic.Bool
		go func() { _, err := mesh.RoundTrip(req); t.Log(err); ended.Store(true) }()
		synctest.Wait()
		close(cancel)
		time.Sleep(time.Minute)
		if !ended.Load() {
			t.Error("a minute after Request.Cancel the call still waits for room")
		}
		release()
		time.Sleep(time.Second)
	})
}

// One that waits for a place of its own does not keep others from theirs.
func TestPinnedWaiterStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
		pin := func(e string) *http.Request {
			req := request(t, http.MethodGet, "http://users/", nil)
			return req.WithContext(fairlead.WithOverride(req.Context(), fairlead.Override{Endpoint: e}))
		}
		a, err := mesh.RoundTrip(pin("a:80"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := mesh.RoundTrip(pin("b:80"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { // pinned to a, which stays full
			if resp, err := mesh.RoundTrip(pin("a:80")); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		var got atomic.Bool
		go func() {
			if resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); err == nil {
				got.Store(true)
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		b.Body.Close() // b is free now
		time.Sleep(time.Hour)
		if !got.Load() {
			t.Error("endpoint b was free for an hour, and the call that could use it still waits")
		}
		a.Body.Close()
		time.Sleep(time.Minute)
	})
}
