package fairlead_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

const often = 100 * time.Millisecond // between two health checks

// checked is a server whose health is the test's to say.
type checked struct {
	*server
	sick   atomic.Bool // says so when it is checked
	broken atomic.Bool // answers calls with 503
	checks atomic.Int64
}

func newChecked(t *testing.T) *checked {
	c := &checked{}
	c.server = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz":
		case c.broken.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		default:
			hello(w, r)
			return
		}
		c.calls.Add(-1)
		c.checks.Add(1)
		if c.sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return c
}

func stateOf(mesh *fairlead.Mesh, addr string) balancer.State {
	for _, s := range mesh.Status().Services {
		for _, e := range s.Endpoints {
			if e.Addr == addr {
				return e.State
			}
		}
	}
	return ""
}

// An endpoint that says it is sick gets no calls, though it would answer them; when
// it says that it is well, it gets its share again.
func TestHealthCheck(t *testing.T) {
	servers := []*checked{newChecked(t), newChecked(t), newChecked(t)}
	sick := servers[1]
	mesh := newMesh(t, []*server{servers[0].server, sick.server, servers[2].server},
		fairlead.WithHealthCheck(health.Check{Protocol: health.HTTP, Path: "/healthz", Interval: often}))
	call := func() {
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	call()
	eventually(t, "the endpoints are checked", func() bool { return sick.checks.Load() > 3 })
	if s := stateOf(mesh, sick.addr); s != balancer.Ready {
		t.Errorf("the endpoint is %s before it is sick", s)
	}
	sick.sick.Store(true)
	eventually(t, "it is unhealthy", func() bool { return stateOf(mesh, sick.addr) == balancer.Unhealthy })
	before := sick.calls.Load()
	for range 60 {
		call()
	}
	if n := sick.calls.Load() - before; n != 0 {
		t.Errorf("the unhealthy endpoint had %d of 60 calls", n)
	}
	sick.sick.Store(false)
	eventually(t, "it is ready", func() bool { return stateOf(mesh, sick.addr) == balancer.Ready })
	eventually(t, "it has calls again", func() bool { call(); return sick.calls.Load() > before })
}

// While most endpoints say that they are sick, nobody believes it.
func TestHealthCheckPanic(t *testing.T) {
	servers := []*checked{newChecked(t), newChecked(t), newChecked(t)}
	mesh := newMesh(t, []*server{servers[0].server, servers[1].server, servers[2].server},
		fairlead.WithHealthCheck(health.Check{Protocol: health.HTTP, Path: "/healthz", Interval: often}))
	servers[0].sick.Store(true)
	servers[1].sick.Store(true)
	call := func() bool {
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			return false
		}
		readAll(t, resp)
		return true
	}
	call()
	eventually(t, "health is ignored", func() bool { return mesh.Status().Services[0].Panic })
	before := servers[0].calls.Load()
	eventually(t, "the sick are called", func() bool { return call() && servers[0].calls.Load() > before })
}

// A server that is gone and back is found by its checks: its breaker lets the probe
// come at once rather than at the end of a long period.
func TestHealthCheckEndsTheOpenPeriod(t *testing.T) {
	good, bad := newChecked(t), newChecked(t)
	mesh := newMesh(t, []*server{good.server, bad.server},
		fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour}),
		fairlead.WithHealthCheck(health.Check{Protocol: health.HTTP, Path: "/healthz", Interval: often}))
	call := func() {
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	bad.broken.Store(true)
	bad.sick.Store(true)
	eventually(t, "the breaker is open", func() bool { call(); return stateOf(mesh, bad.addr) == balancer.Open })
	n := bad.checks.Load()
	eventually(t, "checks have failed", func() bool { return bad.checks.Load() > n+4 })
	bad.broken.Store(false)
	bad.sick.Store(false)
	eventually(t, "the endpoint is back", func() bool { call(); return stateOf(mesh, bad.addr) == balancer.Ready })
}

// An ejected endpoint is left alone for half a minute, and then has its share.
func TestOutlierEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(5)
		mesh := f.mesh(t, fairlead.WithOutlierEjection(health.Ejection{}), fairlead.WithoutBreaker(), fairlead.WithBalancer(balancer.RoundRobin()))
		f.endpoints[2].does(after(0, 503))
		for range 100 {
			if !succeeds(mesh) {
				t.Error("a call failed")
			}
		}
		if n := f.endpoints[2].served.Load(); n != 5 {
			t.Errorf("the endpoint had %d calls, want 5", n)
		}
		if s := stateOf(mesh, f.endpoints[2].addr); s != balancer.Ejected {
			t.Errorf("the endpoint is %s", s)
		}
		f.endpoints[2].does(ok)
		time.Sleep(30 * time.Second)
		for range 100 {
			succeeds(mesh)
		}
		if n := f.endpoints[2].served.Load(); n < 20 {
			t.Errorf("the endpoint had %d calls of 100 after its ejection, want a fifth", n-5)
		}
	})
}

// A fault that all endpoints share is nobody's: breakers and ejection add less than a
// point to its errors.
func TestSharedFaultWithEjection(t *testing.T) {
	const calls = 40_000
	for _, percent := range []int{22, 30} {
		for _, n := range []int{1, 3, 10} {
			t.Run(fmt.Sprintf("%d%% of %d", percent, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(n)
					var failed atomic.Int64
					random := rand.New(rand.NewPCG(uint64(percent), uint64(n)))
					for _, e := range f.endpoints {
						e.does(func(req *http.Request) (*http.Response, error) {
							if random.IntN(100) < percent {
								failed.Add(1)
								return respond(req, 500), nil
							}
							return respond(req, 200), nil
						})
					}
					mesh := f.mesh(t, fairlead.WithOutlierEjection(health.Ejection{}))
					errs := 0
					for range calls {
						if !succeeds(mesh) {
							errs++
						}
						time.Sleep(2 * time.Millisecond)
					}
					added := 100 * float64(errs-int(failed.Load())) / calls
					t.Logf("%d errors, of which %d are the endpoints': %.2f points added", errs, failed.Load(), added)
					if added >= 1 {
						t.Errorf("%.2f points added, want less than one", added)
					}
				})
			})
		}
	}
}

// Options that are wrong are named, with what is allowed.
func TestBadHealthOptions(t *testing.T) {
	for _, opt := range []fairlead.Option{
		fairlead.WithHealthCheck(health.Check{Protocol: "x"}),
		fairlead.WithOutlierEjection(health.Ejection{MaxPercent: 80}),
	} {
		if _, err := fairlead.New(discovery.Services{}, opt, fairlead.WithLogger(slog.New(slog.DiscardHandler))); err == nil {
			t.Error("no error")
		} else {
			t.Log(err)
		}
	}
}
