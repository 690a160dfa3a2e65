package fairlead_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
)

// One endpoint of three answers 503 in 1 ms for 30 s: fast failures must not
// attract traffic, and what fails must be hidden.
func TestOneOfThreeFailsFast(t *testing.T) {
	for _, policy := range policies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { oneOfThree(t, policy, after(time.Millisecond, http.StatusServiceUnavailable)) })
		})
	}
}

func oneOfThree(t *testing.T, policy balancer.Policy, sick func(*http.Request) (*http.Response, error)) {
	const callers = 30
	f := newFleet(3)
	mesh := f.mesh(t, fairlead.WithBalancer(policy))
	bad := f.endpoints[1]
	bad.does(sick)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := f.load(ctx, mesh, callers)
	t.Logf("%s: %d calls, %d errors, %.4f attempts per call", policy.Name(), seen.calls, seen.errors, seen.attemptsPerCall())
	if seen.errorShare() > 0.0005 {
		t.Errorf("%d of %d calls failed, want at most 0.05 %%", seen.errors, seen.calls)
	}
	if seen.attemptsPerCall() > 1.05 {
		t.Errorf("%.3f attempts per call, want at most 1.05", seen.attemptsPerCall())
	}

	healed := time.Now()
	served := make(chan time.Time, 1)
	bad.does(func(req *http.Request) (*http.Response, error) {
		select {
		case served <- time.Now():
		default:
		}
		return ok(req)
	})
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan tally)
	go func() { done <- f.load(ctx, mesh, callers) }()
	select {
	case back := <-served:
		t.Logf("%s: let in again after %v", policy.Name(), back.Sub(healed))
		if back.Sub(healed) > 10*time.Second {
			t.Errorf("let in again after %v, want at most the longest open period of 10s", back.Sub(healed))
		}
	case <-ctx.Done():
		t.Fatal("never let in again")
	}
	time.Sleep(3 * time.Second)
	all, own := f.attempts(), bad.served.Load()
	time.Sleep(3 * time.Second)
	share := float64(bad.served.Load()-own) / float64(f.attempts()-all)
	t.Logf("%s: share after 3 s: %.3f", policy.Name(), share)
	if share < 0.28 || share > 0.39 {
		t.Errorf("3 s after it was let in it has %.3f of the calls, want about a third", share)
	}
	cancel()
	if seen := <-done; seen.errors > 0 {
		t.Errorf("%d calls failed after the recovery, want none", seen.errors)
	}
}

// Every endpoint fails 22 % of its calls in a way that is not retried: what the
// breakers add to that must be less than a point.
func TestAllFailALittle(t *testing.T) {
	for _, policy := range policies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(3)
				sick := sometimes(0.22, after(10*time.Millisecond, http.StatusInternalServerError), ok)
				for _, e := range f.endpoints {
					e.does(sick)
				}
				mesh := f.mesh(t, fairlead.WithBalancer(policy))
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				seen := f.load(ctx, mesh, 30)
				added := float64(seen.calls-seen.attempts) / float64(seen.calls)
				t.Logf("%s: %d calls, %.4f of them failed, %.5f were refused", policy.Name(), seen.calls, seen.errorShare(), added)
				if seen.errorShare() > 0.23 {
					t.Errorf("%.4f of the calls failed, want less than a point more than 0.22", seen.errorShare())
				}
				if added > 0.01 {
					t.Errorf("%.4f of the calls were refused, want less than a point", added)
				}
			})
		})
	}
}

// All three are dead: calls fail at once with the typed error, and succeed again
// soon after the revival.
func TestAllDeadThenRevived(t *testing.T) {
	for _, policy := range policies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(3)
				mesh := f.mesh(t, fairlead.WithBalancer(policy))
				if !succeeds(mesh) {
					t.Fatal("the first call failed")
				}
				for _, e := range f.endpoints {
					e.does(dead)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				f.load(ctx, mesh, 10)

				refused := 0
				for range 200 {
					began := time.Now()
					before := f.attempts()
					_, err := mesh.Client().Get("http://users/v1/42")
					var call *fairlead.CallError
					if !errors.As(err, &call) || call.Service != "users" {
						t.Fatalf("error %v, want a CallError of users", err)
					}
					if f.attempts() == before {
						refused++
						if !errors.Is(err, balancer.ErrAllRejected) {
							t.Fatalf("error %v, want balancer.ErrAllRejected", err)
						}
						if took := time.Since(began); took > 0 {
							t.Fatalf("a refused call took %v of virtual time, want none", took)
						}
					}
					time.Sleep(10 * time.Millisecond)
				}
				if refused < 150 {
					t.Errorf("%d of 200 calls were refused without an attempt, want nearly all", refused)
				}

				for _, e := range f.endpoints {
					e.does(ok)
				}
				revived := time.Now()
				for !succeeds(mesh) {
					time.Sleep(10 * time.Millisecond)
				}
				t.Logf("%s: %d of 200 refused, succeeds again after %v", policy.Name(), refused, time.Since(revived))
				if took := time.Since(revived); took > 2*time.Second {
					t.Errorf("calls succeed %v after the revival, want at most 2s", took)
				}
			})
		})
	}
}

// A probe whose caller goes away proves nothing and must not keep the endpoint out.
func TestProbeCancelledByItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, fairlead.WithBalancer(balancer.RoundRobin()))
		bad := f.endpoints[0]
		bad.does(dead)
		for range 40 {
			succeeds(mesh)
			time.Sleep(time.Millisecond)
		}
		if got := breakerOf(mesh, bad.addr); got != "open" {
			t.Fatalf("breaker is %s after 20 dead attempts, want open", got)
		}
		bad.does(after(500*time.Millisecond, http.StatusOK))
		time.Sleep(1500 * time.Millisecond)
		if got := breakerOf(mesh, bad.addr); got != "half-open" {
			t.Fatalf("breaker is %s after its open period, want half-open", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
		served := bad.served.Load()
		if _, err := mesh.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want context.DeadlineExceeded", err)
		}
		if bad.served.Load() == served {
			t.Fatal("the call was no probe")
		}
		if got := breakerOf(mesh, bad.addr); got != "half-open" {
			t.Fatalf("breaker is %s after a cancelled probe, want half-open still", got)
		}
		if !succeeds(mesh) {
			t.Fatal("the next probe failed")
		}
		if got := breakerOf(mesh, bad.addr); got != "closed" {
			t.Fatalf("breaker is %s after a good probe, want closed", got)
		}
	})
}

// A probe of an endpoint that has come back to hang costs its caller a second, and no more.
func TestProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t)
		bad := f.endpoints[0]
		bad.does(dead)
		for breakerOf(mesh, bad.addr) != "open" {
			succeeds(mesh)
		}
		bad.does(after(time.Hour, http.StatusOK))
		time.Sleep(1500 * time.Millisecond)
		began, served := time.Now(), bad.served.Load()
		if !succeeds(mesh) {
			t.Error("the call failed, though another endpoint is well")
		}
		if took := time.Since(began); took < time.Second || took > 1200*time.Millisecond {
			t.Errorf("the call took %v, want a second and what a retry takes", took)
		}
		if bad.served.Load() == served {
			t.Error("the call was no probe")
		}
		if got := breakerOf(mesh, bad.addr); got != "open" {
			t.Errorf("breaker is %s, want open", got)
		}
	})
}

// A service whose calls must not be repeated gets its endpoint back too.
func TestUnsafeCallsProbeInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		mesh := f.mesh(t, fairlead.WithBalancer(balancer.RoundRobin()))
		bad := f.endpoints[0]
		bad.does(after(time.Millisecond, http.StatusInternalServerError))
		post := func() {
			resp, err := mesh.Client().Post("http://users/", "text/plain", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			time.Sleep(10 * time.Millisecond)
		}
		for breakerOf(mesh, bad.addr) != "open" {
			post()
		}
		bad.does(ok)
		began := time.Now()
		for breakerOf(mesh, bad.addr) != "closed" {
			post()
			if time.Since(began) > 15*time.Second {
				t.Fatal("the endpoint has not come back in 15 s of POSTs")
			}
		}
		t.Logf("back after %v of POSTs", time.Since(began))
	})
}

func breakerOf(mesh *fairlead.Mesh, id string) string {
	for _, s := range mesh.Status().Services {
		for _, e := range s.Endpoints {
			if e.ID == id {
				return e.Breaker
			}
		}
	}
	return "unknown endpoint"
}
