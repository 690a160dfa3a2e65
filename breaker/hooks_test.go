package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// journal records what Changed is told.
type journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (j *journal) changed(from, to breaker.State) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%v to %v", from, to))
}

func (j *journal) want(tb testing.TB, want ...string) {
	tb.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		tb.Errorf("Changed was told\n%q, want\n%q", j.lines, want)
	}
}

func TestCheck(t *testing.T) {
	config := breaker.Config{ConsecutiveFailures: 1}
	t.Run("fails like a probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, config)
			defer closeAll(add(t, g, 1))
			var at []time.Duration
			began := time.Now()
			b := g.Add(breaker.Hooks{Check: func(context.Context) error {
				at = append(at, time.Since(began))
				began = time.Now()
				if len(at) < 6 {
					return errors.New("refused")
				}
				return nil
			}})
			defer b.Close()
			calls(t, b, 1, failure)
			openPeriod(t, b)
			wantState(t, b, breaker.HalfOpen)
			if len(at) != 6 {
				t.Fatalf("%d checks, want 6", len(at))
			}
			for i, nominal := range []time.Duration{1, 2, 4, 8, 10, 10} {
				wantPeriod(t, at[i], nominal*time.Second, 10*time.Second)
			}
			calls(t, b, 1, success)
			wantState(t, b, breaker.Closed)
		})
	})
	t.Run("no call passes while it runs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan error)
			g := newGroup(t, config)
			b := g.Add(breaker.Hooks{Check: func(context.Context) error { return <-release }})
			defer b.Close()
			failuresToOpen(t, b)
			time.Sleep(2 * time.Second)
			wantState(t, b, breaker.Open)
			b.Hasten()
			if call(t, b, success) {
				t.Error("a call passed")
			}
			release <- nil
			synctest.Wait()
			wantState(t, b, breaker.HalfOpen)
		})
	})
	t.Run("has a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var took []time.Duration
			g := newGroup(t, config)
			b := g.Add(breaker.Hooks{Check: func(ctx context.Context) error {
				began := time.Now()
				<-ctx.Done()
				took = append(took, time.Since(began))
				return ctx.Err()
			}})
			defer b.Close()
			failuresToOpen(t, b)
			time.Sleep(2500 * time.Millisecond)
			synctest.Wait()
			if len(took) != 1 || took[0] != breaker.CheckTimeout || breaker.CheckTimeout != time.Second {
				t.Errorf("checks took %v, want one of 1s", took)
			}
			wantState(t, b, breaker.Open)
		})
	})
	t.Run("Close cancels and awaits it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			running, ended := make(chan struct{}), false
			var told journal
			g := newGroup(t, config)
			b := g.Add(breaker.Hooks{Changed: told.changed, Check: func(ctx context.Context) error {
				close(running)
				<-ctx.Done()
				time.Sleep(300 * time.Millisecond)
				ended = true
				return nil
			}})
			failuresToOpen(t, b)
			<-running
			began := time.Now()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					b.Close()
					if !ended {
						t.Error("Close did not wait for the check")
					}
				})
			}
			wg.Wait()
			if d := time.Since(began); d != 300*time.Millisecond {
				t.Errorf("Close took %v, want the 300ms that the check takes to end", d)
			}
			wantState(t, b, breaker.Open)
			b.Close()
			b.Hasten()
			time.Sleep(time.Hour)
			wantState(t, b, breaker.Open)
			told.want(t, "closed to open")
		})
	})
	t.Run("is not run after Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, config)
			b := g.Add(breaker.Hooks{Check: func(context.Context) error {
				t.Error("a check after Close")
				return nil
			}})
			failuresToOpen(t, b)
			b.Close()
			b.Hasten()
			time.Sleep(time.Hour)
			wantState(t, b, breaker.Open)
		})
	})
}

func TestCloseStopsEverything(t *testing.T) {
	for _, state := range []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen} {
		t.Run(state.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, breaker.Config{ConsecutiveFailures: 1})
				if state != breaker.Closed {
					calls(t, b, 1, failure)
				}
				if state == breaker.HalfOpen {
					openPeriod(t, b)
				}
				b.Close()
				b.Close()
				for range 20 {
					call(t, b, failure)
					call(t, b, success)
					b.Ended(failure)
				}
				b.Hasten()
				time.Sleep(time.Hour)
				wantState(t, b, state)
				if admitted := call(t, b, neutral); admitted != (state != breaker.Open) {
					t.Errorf("the next call: admitted %t", admitted)
				}
			})
		})
	}
}

func TestChanged(t *testing.T) {
	t.Run("each change in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var told journal
			g := newGroup(t, breaker.Config{})
			defer closeAll(add(t, g, 3))
			b := g.Add(breaker.Hooks{Changed: told.changed})
			defer b.Close()
			calls(t, b, 5, failure)
			told.want(t, "closed to open")
			openPeriod(t, b)
			calls(t, b, 1, neutral)
			calls(t, b, 1, failure)
			openPeriod(t, b)
			calls(t, b, 1, success)
			calls(t, b, 3, success)
			for range 5 {
				b.Ended(failure)
			}
			told.want(t, "closed to open", "open to half-open", "half-open to open",
				"open to half-open", "half-open to closed", "closed to open")
		})
	})
	t.Run("may use the breaker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var told journal
			var b *breaker.Breaker
			var once sync.Once
			g := newGroup(t, breaker.Config{ConsecutiveFailures: 1})
			defer closeAll(add(t, g, 3))
			b = g.Add(breaker.Hooks{Changed: func(from, to breaker.State) {
				told.changed(from, to)
				b.Hasten()
				b.Ended(success)
				b.SetDraining(true)
				b.SetDraining(false)
				switch to {
				case breaker.HalfOpen:
					if !call(t, b, success) || b.State() != breaker.Closed {
						t.Error("not closed by the probe that Changed made")
					}
				case breaker.Closed:
					once.Do(func() { b.Ended(failure) })
				}
				if other := g.Add(breaker.Hooks{}); other.State() == breaker.Closed {
					other.Close()
				}
			}})
			defer b.Close()
			calls(t, b, 1, failure)
			time.Sleep(time.Minute)
			synctest.Wait()
			// Closed within Changed, opened again by its own Ended, and closed again.
			cycle := []string{"closed to open", "open to half-open", "half-open to closed"}
			told.want(t, slices.Concat(cycle, cycle)...)
		})
	})
	t.Run("in order although a hook is slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var told journal
			g := newGroup(t, breaker.Config{ConsecutiveFailures: 1})
			defer closeAll(add(t, g, 3))
			b := g.Add(breaker.Hooks{Changed: func(from, to breaker.State) {
				if to == breaker.Open {
					time.Sleep(5 * time.Second)
				}
				told.changed(from, to)
			}})
			defer b.Close()
			go call(t, b, failure)
			time.Sleep(2 * time.Second)
			wantState(t, b, breaker.HalfOpen)
			calls(t, b, 1, success)
			time.Sleep(time.Minute)
			told.want(t, "closed to open", "open to half-open", "half-open to closed")
		})
	})
	t.Run("a panic in it is the caller's, once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var told journal
			g := newGroup(t, breaker.Config{ConsecutiveFailures: 1})
			defer closeAll(add(t, g, 3))
			b := g.Add(breaker.Hooks{Changed: func(from, to breaker.State) {
				told.changed(from, to)
				if to == breaker.Open {
					panic("oh")
				}
			}})
			defer b.Close()
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				call(t, b, failure)
			}()
			openPeriod(t, b)
			calls(t, b, 1, success)
			told.want(t, "closed to open", "open to half-open", "half-open to closed")
		})
	})
}

// Recheck ends a long open period at once, and does nothing to a breaker that has none.
func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := breaker.NewGroup(breaker.Config{OpenFor: time.Hour, MaxOpenFor: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		checks, well := 0, false
		b := g.Add(breaker.Hooks{Check: func(context.Context) error {
			checks++
			if !well {
				return errors.New("not well")
			}
			return nil
		}})
		defer b.Close()
		other := g.Add(breaker.Hooks{})
		defer other.Close()
		b.Recheck()
		time.Sleep(time.Second)
		if b.State() != breaker.Closed || checks != 0 {
			t.Fatalf("a closed breaker is %v after Recheck, with %d checks", b.State(), checks)
		}
		for range 15 {
			token, err := b.Allow()
			if err != nil {
				break
			}
			b.Done(token, balancer.Outcome{Verdict: balancer.Failure})
		}
		if b.State() != breaker.Open {
			t.Fatalf("the breaker is %v", b.State())
		}
		b.Recheck()
		synctest.Wait()
		if b.State() != breaker.Open || checks != 1 {
			t.Errorf("the breaker is %v after a check that failed, %d checks", b.State(), checks)
		}
		well = true
		b.Recheck()
		synctest.Wait()
		if b.State() != breaker.HalfOpen || checks != 2 {
			t.Errorf("the breaker is %v after a check that passed, %d checks", b.State(), checks)
		}
	})
}
