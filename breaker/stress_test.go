package breaker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// TestStress has many goroutines do everything at once and checks what must
// hold all the same: changes of state are told without a gap, never more than
// one probe runs, and Close ends it all.
func TestStress(t *testing.T) {
	const members, workers, rounds, enough = 4, 8, 1500, 200
	g := newGroup(t, breaker.Config{OpenFor: 50 * time.Microsecond, MaxOpenFor: 200 * time.Microsecond, MinSamples: 5, Window: 100 * time.Millisecond})
	type member struct {
		*breaker.Breaker
		state  breaker.State // by what Changed was told; Changed comes one at a time
		told   atomic.Int64
		probes atomic.Int32
	}
	var fleet [members]*member
	var changes atomic.Int64
	for i := range fleet {
		m := &member{}
		hooks := breaker.Hooks{
			Changed: func(from, to breaker.State) {
				if from != m.state || from == to {
					t.Errorf("Changed was told %v to %v after it was told %v", from, to, m.state)
				}
				m.state = to
				m.told.Add(1)
				changes.Add(1)
			},
			Check: func(context.Context) error {
				if rand.IntN(4) == 0 {
					return errors.New("refused")
				}
				return nil
			},
		}
		m.Breaker = g.Add(hooks)
		fleet[i] = m
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := 0; i < rounds || changes.Load() < enough && i < 100_000_000; i++ {
				m := fleet[rand.IntN(members)]
				// Half-open before the admission and after it, without a change
				// between that anybody can see: then the call is the probe.
				told, before := m.told.Load(), m.State()
				token, err := m.Allow()
				if err != nil {
					if !errors.Is(err, breaker.ErrOpen) {
						t.Errorf("Allow: %v", err)
					}
					runtime.Gosched()
					continue
				}
				probe := before == breaker.HalfOpen && m.State() == breaker.HalfOpen && m.told.Load() == told
				if probe && m.probes.Add(1) > 1 {
					t.Error("two probes at once")
				}
				v := failure
				if rand.IntN(8) == 0 {
					v = balancer.Verdict(rand.IntN(6))
				}
				if probe {
					m.probes.Add(-1)
				}
				m.Done(token, balancer.Outcome{Verdict: v})
				switch rand.IntN(16) {
				case 0:
					m.Ended(failure)
				case 1:
					m.Ended(success)
				case 2:
					m.Hasten()
				case 3:
					m.SetDraining(rand.IntN(2) == 0)
				case 4:
					extra := g.Add(breaker.Hooks{})
					for range rand.IntN(20) {
						call(t, extra, failure)
					}
					extra.Close()
				}
			}
		})
	}
	wg.Wait()
	// Nothing was lost on the way: every one of them comes back.
	for _, m := range fleet {
		m.SetDraining(false)
		for end := time.Now().Add(10 * time.Second); m.State() != breaker.Closed; call(t, m.Breaker, success) {
			if time.Now().After(end) {
				t.Fatalf("a breaker hangs %v", m.State())
			}
		}
	}
	if changes.Load() < enough {
		t.Errorf("%d changes of state only", changes.Load())
	}
	// And the group has not lost count.
	for _, m := range fleet {
		for m.State() != breaker.Closed {
			call(t, m.Breaker, success)
		}
		m.Close()
	}
	rest := add(t, g, 3)
	for i, want := range []int{5, 15} {
		if got := failuresToOpen(t, rest[i]); got != want {
			t.Errorf("member %d takes %d failures, want %d", i, got, want)
		}
	}
	closeAll(rest)
}

// TestStressClose closes breakers while they are used, and while their checks run.
func TestStressClose(t *testing.T) {
	for range 100 {
		g := newGroup(t, breaker.Config{ConsecutiveFailures: 1, SuccessRatio: -1, OpenFor: 20 * time.Microsecond})
		var running, closed atomic.Int32
		b := g.Add(breaker.Hooks{Check: func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			if closed.Load() > 0 {
				t.Error("a check after Close")
			}
			runtime.Gosched()
			return ctx.Err()
		}})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range 100 {
					call(t, b, failure)
					if i == 60 {
						b.Close()
						closed.Add(1)
						if n := running.Load(); n > 0 {
							t.Errorf("%d checks run after Close", n)
						}
					}
				}
			})
		}
		wg.Wait()
	}
}
