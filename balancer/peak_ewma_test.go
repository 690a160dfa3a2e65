package balancer_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

const ms = time.Millisecond

// peaks is a fleet under PeakEWMA, in virtual time: each node answers as told.
type peaks struct {
	*balancer.Balancer
	took    map[string]time.Duration
	outcome map[string]balancer.Outcome
	picks   map[string]int
}

func newPeaks(t *testing.T, latencies ...time.Duration) *peaks {
	t.Helper()
	weights := make([]int, len(latencies))
	for i := range weights {
		weights[i] = 1
	}
	p := &peaks{
		Balancer: balancer.New(balancer.Config{Policy: balancer.PeakEWMA()}),
		took:     map[string]time.Duration{}, outcome: map[string]balancer.Outcome{}, picks: map[string]int{},
	}
	t.Cleanup(p.Close)
	endpoints := weighted(weights...)
	update(t, p.Balancer, endpoints)
	for i, e := range endpoints {
		p.took[e.ID], p.outcome[e.ID] = latencies[i], success
	}
	return p
}

// call makes calls, one after the other, and returns who got how many.
func (p *peaks) call(t *testing.T, n int, retryable bool) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		l := pick(t, p.Balancer, &balancer.Info{Retryable: retryable})
		id := l.Node().ID()
		got[id]++
		time.Sleep(p.took[id])
		l.Report(p.outcome[id])
		l.Release()
	}
	return got
}

// until calls until the node had a call.
func (p *peaks) until(t *testing.T, id string) {
	t.Helper()
	for n := 0; p.picks[id] == 0; n++ {
		if n > 10_000 {
			t.Fatalf("%s is never called", id)
		}
		p.picks = p.call(t, 1, true)
	}
	clear(p.picks)
}

func TestPeakEWMAPrefersTheFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms, 200*ms)
		got := p.call(t, 1000, true)
		if got["c"] == 0 || got["c"] > 10 {
			t.Errorf("the slow node got %d of 1000 calls in 10 s, want a few", got["c"])
		}
		if got["a"] < 300 || got["b"] < 300 {
			t.Errorf("the fast nodes got %v", got)
		}
	})
}

// A node that becomes slow is left alone after one call; when it is fast again,
// its average decays within some tens of seconds.
func TestPeakEWMAFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms, 10*ms)
		p.call(t, 300, true)
		p.took["b"] = time.Second
		if got := p.call(t, 300, true)["b"]; got > 2 {
			t.Errorf("the node that became slow got %d of 300 calls in 3 s, want 1", got)
		}
		p.took["b"] = 10 * ms
		if got := p.call(t, 1000, true)["b"]; got != 0 {
			t.Errorf("%d calls to it within 10 s: the average decays too fast", got)
		}
		p.call(t, 5000, true)
		if got := p.call(t, 300, true)["b"]; got < 50 {
			t.Errorf("%d of 300 calls to it after a minute, want a third", got)
		}
	})
}

// A node that comes to a halt is left alone before its first late answer, and a
// long answer does no harm.
func TestPeakEWMASeesAStall(t *testing.T) {
	for _, tt := range []struct {
		name    string
		verdict bool // of the call that lasts
		min     int  // of 600 calls
		max     int
	}{
		{"waits for its headers", false, 0, 6},
		{"reads its answer", true, 20, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeaks(t, 10*ms, 10*ms)
				p.call(t, 100, true)
				held := pick(t, p.Balancer, &balancer.Info{})
				if tt.verdict {
					held.Report(success)
				}
				time.Sleep(100 * ms)
				// Two calls at once at the other are as good as one beside the one that lasts.
				got := 0
				for range 300 {
					other := pick(t, p.Balancer, &balancer.Info{})
					second := pick(t, p.Balancer, &balancer.Info{})
					for _, l := range []*balancer.Lease{&other, &second} {
						if l.Node() == held.Node() {
							got++
						}
					}
					time.Sleep(10 * ms)
					for _, l := range []*balancer.Lease{&other, &second} {
						l.Report(success)
						l.Release()
					}
				}
				held.Release()
				if got < tt.min || got > tt.max {
					t.Errorf("%d of 600 calls went to the node, want %d to %d", got, tt.min, tt.max)
				}
			})
		})
	}
}

// A node that fails fast attracts nobody, and gets a call after 1, 3, 7, 15, 25 s …
// that can be retried. One success brings it back.
func TestPeakEWMAOwesACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms, 10*ms)
		p.call(t, 300, true)
		p.took["a"], p.outcome["a"] = ms, failure
		p.until(t, "a")
		if !p.Probing() {
			t.Error("Probing is false while a node is owed a call")
		}
		began := time.Now()
		for _, due := range []time.Duration{1, 3, 7, 15, 25, 35} {
			p.until(t, "a")
			if at := time.Since(began); at < due*time.Second || at > due*time.Second+300*ms {
				t.Errorf("a call to the failing node after %v, want %v s", at, int(due))
			}
		}
		if got := p.call(t, 2000, false)["a"]; got != 0 {
			t.Errorf("%d calls that cannot be retried went to the failing node", got)
		}
		p.outcome["a"], p.took["a"] = success, 10*ms
		p.until(t, "a")
		if p.Probing() {
			t.Error("Probing is true though the node is well")
		}
		if got := p.call(t, 300, true)["a"]; got < 50 {
			t.Errorf("%d of 300 calls after its success, want a third", got)
		}
	})
}

// A node that leaves under its penalty is owed nothing.
func TestPeakEWMAForgetsWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms)
		p.outcome["a"] = failure
		p.call(t, 100, true)
		late := pick(t, p.Balancer, &balancer.Info{Endpoint: "a"})
		if !p.Probing() {
			t.Fatal("the failing node is owed nothing")
		}
		update(t, p.Balancer, weighted(1, 1)[1:])
		late.Report(failure)
		late.Release()
		if p.Probing() {
			t.Error("a node that left is owed a call")
		}
	})
}

// Overload that is answered fast, and calls whose callers left early, do not make
// a slow node look fast; calls that were given up late make it look slow.
func TestPeakEWMALearnsFromUnansweredCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 50*ms, 50*ms)
		p.call(t, 200, true)
		p.took["a"], p.outcome["a"] = ms, overload
		p.took["b"], p.outcome["b"] = ms, balancer.Outcome{}
		p.call(t, 400, true)
		p.took["b"], p.outcome["b"] = 500*ms, balancer.Outcome{}
		if got := p.call(t, 1, true)["b"] + p.call(t, 1, true)["b"]; got == 0 {
			t.Error("the node that overloads fast got both of two calls")
		}
		p.took["a"], p.outcome["a"] = 50*ms, success
		if got := p.call(t, 40, true)["b"]; got > 1 {
			t.Errorf("the node whose calls are given up after 500 ms got %d of 40", got)
		}
	})
}

// An attempt that a hedge overtook doubles the average: what hedges wait for is not
// what the node takes.
func TestPeakEWMALearnsFromHedges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms)
		p.call(t, 200, true)
		p.took["a"], p.outcome["a"] = 10*ms+500*time.Microsecond, balancer.Outcome{Overtaken: true}
		if got := p.call(t, 2000, true)["a"]; got == 0 || got > 12 {
			t.Errorf("the node that is always overtaken got %d of 2000 calls in 20 s, want a few", got)
		}
		p.took["a"], p.outcome["a"] = 10*ms, success
		p.call(t, 6000, true)
		if got := p.call(t, 200, true)["a"]; got < 50 {
			t.Errorf("%d of 200 calls after a minute, want half", got)
		}
	})
}

// So is one that was never answered: else it would stay as fast as whom it is
// compared with, and be preferred for its few picks.
func TestPeakEWMALearnsOfWhomNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 20*ms, ms)
		p.outcome["a"] = balancer.Outcome{Overtaken: true}
		if got := p.call(t, 60, true)["a"]; got == 0 || got > 3 {
			t.Errorf("the node that is always overtaken got %d of 60 calls, want one or two", got)
		}
	})
}

// A newcomer is taken for as fast as the others, until it is known.
func TestPeakEWMANewcomer(t *testing.T) {
	for _, tt := range []struct {
		name string
		took time.Duration
		min  int
		max  int
	}{
		{"as fast", 50 * ms, 60, 160},
		{"slow", time.Second, 1, 6},
		{"faster", 5 * ms, 160, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeaks(t, 50*ms, 50*ms)
				p.call(t, 300, true)
				update(t, p.Balancer, weighted(1, 1, 1))
				settle()
				p.took["c"], p.outcome["c"] = tt.took, success
				if got := p.call(t, 300, true)["c"]; got < tt.min || got > tt.max {
					t.Errorf("the newcomer got %d of 300 calls, want %d to %d", got, tt.min, tt.max)
				}
			})
		})
	}
}

// A node whose breaker closes begins anew: its bad times are forgotten.
func TestPeakEWMAForgetsBadTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		b := balancer.New(balancer.Config{Policy: balancer.PeakEWMA(), Join: g.join})
		defer b.Close()
		update(t, b, weighted(1, 1))
		l := pick(t, b, &balancer.Info{Endpoint: "a"})
		time.Sleep(4 * time.Second)
		l.Report(success)
		l.Release()
		once(t, b, &balancer.Info{Endpoint: "b"}, success)
		count := func() (n int) {
			for range 100 {
				if once(t, b, &balancer.Info{}, success) == "a" {
					n++
				}
			}
			return n
		}
		if n := count(); n != 0 {
			t.Fatalf("a slow node got %d of 100 calls", n)
		}
		g.at("a").set(balancer.Refusing)
		settle()
		g.at("a").set(balancer.Probing)
		settle()
		g.at("a").set(balancer.Admitting)
		settle()
		if n := count(); n < 25 {
			t.Errorf("the node got %d of 100 calls after its breaker closed, want half", n)
		}
	})
}

func TestPeakEWMAConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 1, 1, 1, 1, 1)
		outcomes := []balancer.Outcome{success, success, success, failure, overload, {}}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					l, err := p.Pick(&balancer.Info{Retryable: true})
					if err != nil {
						continue // all of them cool
					}
					time.Sleep(time.Duration(rand.IntN(20)) * ms)
					if rand.IntN(5) > 0 {
						l.Report(outcomes[rand.IntN(len(outcomes))])
					}
					l.Release()
				}
			})
		}
		for i := range 50 {
			time.Sleep(100 * ms)
			update(t, p.Balancer, weighted(1, 1, 1+i%2, 1, 1)[i%3:])
		}
		wg.Wait()
		for _, n := range p.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("node %s has %d calls in flight", n.ID(), n.InFlight())
			}
		}
		// Nobody waits any more: no node looks as if it had come to a halt.
		time.Sleep(time.Minute)
		for id := range p.took {
			p.outcome[id], p.took[id] = success, 10*ms
		}
		p.call(t, 2000, true)
		for id, n := range p.call(t, 1000, true) {
			if n < 100 {
				t.Errorf("node %s got %d of 1000 calls", id, n)
			}
		}
	})
}

// Streams that have nothing to say count as calls in flight and no more: they do not
// make their nodes look stalled. One that fails tells of its node.
func TestPeakEWMAAndStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeaks(t, 10*ms, 10*ms)
		p.call(t, 200, true)
		ofA := pick(t, p.Balancer, &balancer.Info{Endpoint: "a", Stream: true})
		ofB := pick(t, p.Balancer, &balancer.Info{Endpoint: "b", Stream: true})
		time.Sleep(time.Minute)
		p.call(t, 200, true)
		if got := p.call(t, 400, true)["a"]; got < 100 || got > 300 {
			t.Errorf("of two nodes with silent streams one gets %d of 400 calls, want about half", got)
		}
		ofA.Report(failure)
		ofA.Release()
		if got := p.call(t, 40, false)["a"]; got > 0 {
			t.Errorf("the node whose stream failed gets %d of 40 calls at once", got)
		}
		ofB.Release()
	})
}
