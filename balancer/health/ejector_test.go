package health_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/discovery"
)

var (
	success  = balancer.Outcome{Verdict: balancer.Success}
	failure  = balancer.Outcome{Verdict: balancer.Failure}
	suspect  = balancer.Outcome{Verdict: balancer.Suspect}
	overload = balancer.Outcome{Verdict: balancer.Overload}
)

// fleet is a service whose endpoints are compared.
type fleet struct {
	*balancer.Balancer
	ejector *health.Ejector

	mu   sync.Mutex
	told []string
}

func newFleet(t *testing.T, n int, config health.Ejection) *fleet {
	t.Helper()
	f := &fleet{}
	var err error
	f.ejector, err = health.NewEjector(config, func(n *balancer.Node, d time.Duration) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told = append(f.told, fmt.Sprint(n.ID(), " ", d))
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Balancer = balancer.New(balancer.Config{
		Policy:  balancer.RoundRobin(),
		Join:    func(n *balancer.Node) (any, []balancer.Gate) { return f.ejector.Add(n), nil },
		Observe: func(n *balancer.Node, o balancer.Outcome) { n.Data().(*health.Outlier).Observe(o) },
		Leave:   func(n *balancer.Node) { n.Data().(*health.Outlier).Remove() },
	})
	t.Cleanup(func() {
		f.Close()
		f.ejector.Close()
	})
	f.update(t, n)
	return f
}

func (f *fleet) update(t *testing.T, n int) {
	t.Helper()
	endpoints := make([]discovery.Endpoint, n)
	for i := range endpoints {
		endpoints[i] = discovery.Endpoint{ID: string(rune('a' + i)), Addr: fmt.Sprintf("10.0.0.%d:80", i+1)}
	}
	if err := f.Update(endpoints); err != nil {
		t.Fatal(err)
	}
	settle()
}

// settle lets merged builds happen.
func settle() {
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
}

// answer has the endpoint answer n calls, whatever the policy says.
func (f *fleet) answer(t *testing.T, id string, n int, o balancer.Outcome) {
	t.Helper()
	for range n {
		l, err := f.Pick(&balancer.Info{Endpoint: id})
		if err != nil {
			t.Fatal(err)
		}
		l.Report(o)
		l.Release()
	}
}

func (f *fleet) ejected() (ids []string) {
	for _, n := range f.Nodes() {
		if n.State() == balancer.Ejected {
			ids = append(ids, n.ID())
		}
	}
	return ids
}

func (f *fleet) expect(t *testing.T, ids ...string) {
	t.Helper()
	settle()
	if got := f.ejected(); !slices.Equal(got, ids) {
		t.Errorf("ejected are %v, want %v", got, ids)
	}
}

func TestConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, health.Ejection{})
		f.answer(t, "a", 4, failure)
		f.answer(t, "a", 1, success)
		f.answer(t, "a", 4, failure)
		f.answer(t, "a", 10, overload)
		f.answer(t, "a", 10, balancer.Outcome{})
		f.answer(t, "b", 10, suspect)
		f.expect(t)
		f.answer(t, "a", 1, failure)
		f.expect(t, "a")
		time.Sleep(29 * time.Second)
		f.expect(t, "a")
		time.Sleep(time.Second)
		f.expect(t)
		if want := []string{"a 30s", "a 0s"}; !slices.Equal(f.told, want) {
			t.Errorf("told %v, want %v", f.told, want)
		}
	})
}

// An answer that breaks off is one more failure.
func TestBrokenAnswersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, health.Ejection{Consecutive: 1})
		l, err := f.Pick(&balancer.Info{Endpoint: "a"})
		if err != nil {
			t.Fatal(err)
		}
		l.Report(success)
		l.Report(failure)
		f.expect(t)
		l.Release()
		f.expect(t, "a")
	})
}

// The n-th ejection lasts n times as long, up to a maximum; quiet intervals take
// some off again.
func TestGrowingTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, health.Ejection{BaseTime: 7 * time.Second, MaxTime: 20 * time.Second})
		out := func() time.Duration {
			f.answer(t, "a", 5, failure)
			began := time.Now()
			f.expect(t, "a")
			for len(f.ejected()) > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			return time.Since(began).Round(time.Second)
		}
		var got []time.Duration
		for range 4 {
			got = append(got, out())
		}
		if want := []time.Duration{7 * time.Second, 14 * time.Second, 20 * time.Second, 20 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("ejected for %v, want %v", got, want)
		}
		time.Sleep(100 * time.Second)
		if got := out(); got != 7*time.Second {
			t.Errorf("ejected for %v after ten quiet intervals, want 7 s", got)
		}
	})
}

// One may always go, never more than half, and never the only one.
func TestCap(t *testing.T) {
	for _, tt := range []struct{ n, percent, want int }{
		{1, 10, 0}, {2, 10, 1}, {3, 10, 1}, {9, 10, 1}, {20, 10, 2}, {20, 50, 10}, {3, 50, 1}, {4, 50, 2}, {1, 50, 0},
	} {
		t.Run(fmt.Sprintf("%d%% of %d", tt.percent, tt.n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, tt.n, health.Ejection{MaxPercent: tt.percent})
				for _, n := range f.Nodes() {
					f.answer(t, n.ID(), 100, failure)
				}
				settle()
				if got := len(f.ejected()); got != tt.want {
					t.Errorf("%d ejected, want %d", got, tt.want)
				}
				if ready, _ := f.Ready(); ready != tt.n-tt.want {
					t.Errorf("%d ready, want %d", ready, tt.n-tt.want)
				}
			})
		})
	}
}

// Those that are not well for another reason count too: an ejection does not bring
// the fleet to where health is ignored.
func TestCapCountsAllWhoAreNotWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, health.Ejection{MaxPercent: 50})
		f.Nodes()[0].Advise(balancer.ChecksFail, true)
		f.answer(t, "b", 5, failure)
		f.answer(t, "c", 5, failure)
		f.expect(t, "b")
		if f.Panicking() {
			t.Error("health is ignored")
		}
	})
}

func TestRates(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config health.Ejection
		calls  int
		bad    []int // percent, of each endpoint
		want   []string
	}{
		{"one fails nearly always", health.Ejection{}, 50, []int{90, 0, 0}, []string{"a"}},
		{"exactly at the limit", health.Ejection{}, 100, []int{85, 0, 0}, []string{"a"}},
		{"just below it", health.Ejection{}, 100, []int{84, 0, 0}, nil},
		{"too few calls", health.Ejection{}, 49, []int{90, 0, 0}, nil},
		{"off", health.Ejection{FailurePercent: -1}, 50, []int{90, 0, 0}, nil},
		{"an outlier among six", health.Ejection{}, 200, []int{20, 1, 2, 1, 0, 1}, []string{"a"}},
		{"of four nobody can be told to be one", health.Ejection{}, 200, []int{20, 1, 2, 1}, nil},
		{"far out in deviations, by next to nothing", health.Ejection{}, 200, []int{2, 0, 0, 0, 0, 0, 0, 0}, nil},
		{"all alike", health.Ejection{}, 200, []int{30, 29, 31, 30, 28, 32}, nil},
		{"off too", health.Ejection{SuccessRateFactor: -1}, 200, []int{20, 1, 2, 1, 0, 1}, nil},
		{"the worst first", health.Ejection{}, 200, []int{86, 0, 99, 0, 87, 0, 0, 0, 0}, []string{"c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.config.Consecutive = -1
				f := newFleet(t, len(tt.bad), tt.config)
				time.Sleep(time.Second)
				for i, n := range f.Nodes() {
					f.answer(t, n.ID(), tt.calls*tt.bad[i]/100, suspect)
					f.answer(t, n.ID(), tt.calls-tt.calls*tt.bad[i]/100, success)
				}
				f.expect(t)
				time.Sleep(10 * time.Second)
				f.expect(t, tt.want...)
				if tt.want == nil {
					time.Sleep(time.Minute) // what was looked at once is not looked at again
					f.expect(t)
				}
			})
		})
	}
}

// Who leaves is out of the counts, and who comes back begins anew.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, health.Ejection{})
		f.answer(t, "c", 5, failure)
		f.expect(t, "c")
		f.update(t, 2)
		f.answer(t, "a", 5, failure)
		f.expect(t, "a") // there is room again
		f.update(t, 3)
		f.expect(t, "a")
		f.update(t, 0)
		time.Sleep(time.Hour)
		f.update(t, 3)
		f.expect(t)
		f.answer(t, "b", 5, failure)
		f.expect(t, "b")
		f.ejector.Close()
		time.Sleep(time.Hour)
		f.answer(t, "a", 5, failure)
		f.expect(t, "b")
	})
}

func TestEjectorConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 10, health.Ejection{Interval: 100 * time.Millisecond, BaseTime: time.Millisecond, MaxTime: 2 * time.Millisecond, Consecutive: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if l, err := f.Pick(&balancer.Info{}); err == nil {
						time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
						l.Report([]balancer.Outcome{success, failure, suspect}[rand.IntN(3)])
						l.Release()
					}
				}
			})
		}
		for i := range 100 {
			time.Sleep(100 * time.Millisecond)
			f.update(t, 5+i%6)
		}
		wg.Wait()
		time.Sleep(time.Second)
		f.expect(t)
		if len(f.told) < 1000 {
			t.Errorf("only %d ejections and returns", len(f.told))
		}
	})
}
