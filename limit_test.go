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
	for name, opts := range map[string][]fairlead.Option{"bare": nil, "behind middleware": {plainMiddleware}} {
		t.Run(name, func(t *testing.T) { testUpgrades(t, opts) })
	}
}

// plainMiddleware does nothing.
var plainMiddleware = fairlead.WithMiddleware(func(rt http.RoundTripper) http.RoundTripper { return rt })

func testUpgrades(t *testing.T, opts []fairlead.Option) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		f.endpoints[0].does(func(req *http.Request) (*http.Response, error) { return respond(req, 101), nil })
		mesh := f.mesh(t, append(opts, fairlead.WithLimit(breaker.Limit{Endpoint: 1, Service: 1, Queue: -1}))...)
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

// verdicts is a policy that counts what its picker is told.
type verdicts struct {
	balancer.Policy
	of *[5]atomic.Int64
}

func (v verdicts) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return verdictPicker{v.Policy.NewPicker(nodes, nil), v.of}
}

type verdictPicker struct {
	balancer.Picker
	of *[5]atomic.Int64
}

func (v verdictPicker) Observe(_ *balancer.Node, o balancer.Outcome, _ time.Duration) {
	v.of[o.Verdict].Add(1)
}

// For what the queue took no endpoint is blamed, be there middleware or not.
func TestQueuedCallsAreNoFailures(t *testing.T) {
	for name, opts := range map[string][]fairlead.Option{"bare": nil, "behind middleware": {plainMiddleware}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				for _, e := range f.endpoints {
					e.does(after(100*ms, 200))
				}
				var of [5]atomic.Int64
				mesh := f.mesh(t, append(opts, fairlead.WithBalancer(verdicts{balancer.RoundRobin(), &of}),
					fairlead.WithLimit(breaker.Limit{Service: 4}), fairlead.WithTimeout(250*ms))...)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				f.load(ctx, mesh, 16)
				if n := of[balancer.Failure].Load(); n > 0 || of[balancer.Suspect].Load() == 0 {
					t.Errorf("%d failures and %d suspicions, want no failure and some of the others", n, of[balancer.Suspect].Load())
				}
			})
		})
	}
}

// An endpoint that hangs makes the queue long, and is found all the same: its peers do
// better.
func TestQueueHidesNoEndpointThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 200
		f := newFleet(3)
		f.endpoints[0].does(after(time.Hour, 200))
		mesh := f.mesh(t, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithLimit(breaker.Limit{Service: 4}), fairlead.WithTimeout(500*ms))
		var good atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 * perSecond {
			time.Sleep(time.Second / perSecond)
			wg.Go(func() {
				if succeeds(mesh) && i >= 20*perSecond {
					good.Add(1)
				}
			})
		}
		wg.Wait()
		t.Logf("%d of %d calls are good in the last 10 s", good.Load(), 10*perSecond)
		if good.Load() < 10*perSecond*95/100 {
			t.Errorf("%d of %d calls are good in the last 10 s, want 95 %%", good.Load(), 10*perSecond)
		}
	})
}

// A call that waits for room does not try a half-open endpoint over and over whose
// probe is under way.
func TestWaitingCallDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		a, b := f.endpoints[0], f.endpoints[1]
		var looks atomic.Int64
		mesh := f.mesh(t, fairlead.WithBalancer(looked{balancer.RoundRobin(), &looks}), fairlead.WithLimit(breaker.Limit{Endpoint: 2}),
			fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
		succeeds(mesh)
		b.does(dead)
		for stateOf(mesh, b.addr) == balancer.Ready {
			succeeds(mesh)
		}
		b.does(after(10*time.Minute, 200))
		a.does(after(time.Minute, 200))
		for range 2 {
			go succeeds(mesh)
			synctest.Wait() // a is full
		}
		time.Sleep(2 * time.Second)
		if s := stateOf(mesh, b.addr); s != balancer.HalfOpen {
			t.Fatalf("endpoint b is %s, want half-open", s)
		}
		served := b.served.Load()
		go succeeds(mesh)
		synctest.Wait()
		if b.served.Load() == served {
			t.Fatal("endpoint b has no probe")
		}
		before := looks.Load()
		ctx, cancel := context.WithTimeout(t.Context(), 500*ms)
		defer cancel()
		_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}
		if n := looks.Load() - before; n > 20 {
			t.Errorf("%d picks by one call that waits, want a few", n)
		}
		time.Sleep(time.Hour)
	})
}

// looked is a policy that counts picks.
type looked struct {
	balancer.Policy
	n *atomic.Int64
}

func (l looked) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return lookedPicker{l.Policy.NewPicker(nodes, nil), l.n}
}

type lookedPicker struct {
	balancer.Picker
	n *atomic.Int64
}

func (l lookedPicker) Pick(i *balancer.Info) balancer.Choice {
	l.n.Add(1)
	return l.Picker.Pick(i)
}

// A call's own failed answer, which it keeps in case there is no better one, does not
// stand in the way of its retry.
func TestRetryAtTheOnlyEndpointThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		first := true
		f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
			if first {
				first = false
				return respond(req, 503), nil
			}
			return ok(req)
		})
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
		if !succeeds(mesh) {
			t.Error("the retry was not made")
		}
		atRest(t, mesh)
	})
}
