package retry_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/retry"
)

func TestBudget(t *testing.T) {
	budget := func(ratio float64, burst int, perSecond float64) retry.Config {
		return retry.Config{Budget: retry.Budget{Ratio: ratio, Burst: burst, PerSecond: perSecond}}
	}
	t.Run("sizes", func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			config retry.Config
			calls  int
			want   int
		}{
			{"the default", retry.Config{}, 100, 30},
			{"a few calls", retry.Config{}, 4, 4},
			{"the burst alone", retry.Config{}, 12, 12},
			{"no burst", budget(0, -1, 0), 100, 20},
			{"no burst and few calls", budget(0, -1, 0), 4, 0},
			{"half", budget(0.5, -1, 0), 100, 50},
			{"a large burst", budget(0.1, 40, 0), 100, 50},
			{"one each", budget(1, -1, 0), 100, 100},
			{"off", budget(-1, 0, 0), 1000, 1000},
			{"off, and no burst", budget(-1, -1, -1), 1000, 1000},
		} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPolicy(t, tt.config)
					if got := retries(p, tt.calls); got != tt.want {
						t.Errorf("%d of %d failing calls were sent again, want %d", got, tt.calls, tt.want)
					}
				})
			})
		}
	})
	t.Run("calls that need no retry pay for those that do", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, retry.Config{})
			for range 95 {
				p.Begin(false)
			}
			if got := p.BudgetLeft(); got != 29 {
				t.Errorf("%v retries left, want 29", got)
			}
		})
	})
	t.Run("calls are forgotten after ten seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, budget(0, -1, 0))
			for range 100 {
				p.Begin(true)
			}
			time.Sleep(8 * time.Second)
			if got := p.BudgetLeft(); got != 20 {
				t.Errorf("%v retries left after 8s, want 20", got)
			}
			time.Sleep(2 * time.Second)
			if got := p.BudgetLeft(); got != 0 {
				t.Errorf("%v retries left after 10s, want 0", got)
			}
			if got := retries(p, 1); got != 0 {
				t.Errorf("%d retries after 10s, want 0", got)
			}
		})
	})
	t.Run("retries are forgotten no sooner", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, budget(0, -1, 0))
			if got := retries(p, 100); got != 20 {
				t.Errorf("%d retries, want 20", got)
			}
			time.Sleep(8 * time.Second)
			if got := retries(p, 4); got != 0 {
				t.Errorf("%d retries of 4 calls after 8s, want 0", got)
			}
			if got := retries(p, 1); got != 1 {
				t.Errorf("%d retries of the fifth call, want 1", got)
			}
			time.Sleep(20 * time.Second)
			if got := retries(p, 100); got != 20 {
				t.Errorf("%d retries after 28s, want 20", got)
			}
		})
	})
	t.Run("the burst comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, budget(0.0001, 10, 0))
			if got := retries(p, 20); got != 10 {
				t.Errorf("%d retries, want 10", got)
			}
			for range 5 {
				time.Sleep(999 * time.Millisecond)
				if got := retries(p, 1); got != 0 {
					t.Errorf("%d retries before the second is over", got)
				}
				time.Sleep(time.Millisecond)
				if got := retries(p, 2); got != 1 {
					t.Errorf("%d retries after a second, want 1", got)
				}
			}
			time.Sleep(time.Hour)
			if got := p.BudgetLeft(); got != 10 {
				t.Errorf("%v retries left after an hour, want 10", got)
			}
		})
	})
	t.Run("at another pace, or never", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for perSecond, want := range map[float64]float64{2.5: 5, -1: 0, 100: 10} {
				p := newPolicy(t, budget(0.0001, 10, perSecond))
				retries(p, 10)
				time.Sleep(2 * time.Second)
				if got := p.BudgetLeft(); got != want {
					t.Errorf("%v per second: %v retries left after 2s, want %v", perSecond, got, want)
				}
			}
		})
	})
	t.Run("halves of two kinds pay for nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, budget(0, 1, 0))
			if got := retries(p, 1); got != 1 {
				t.Fatalf("%d retries, want 1", got)
			}
			time.Sleep(500 * time.Millisecond)
			if got := retries(p, 3); got != 0 { // 0.8 and 0.5
				t.Errorf("%d retries, want 0", got)
			}
		})
	})
	t.Run("is asked last", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, retry.Config{})
			for range 100 {
				call := p.Begin(true)
				call.Next(ifSafe, retry.Situation{Replayable: true, Others: true, Remaining: 1})
				unsafe := p.Begin(false)
				unsafe.Next(ifSafe, usual)
			}
			if got := p.BudgetLeft(); got < 49 { // 1 ns may once suffice
				t.Errorf("%v retries left, want 50", got)
			}
		})
	})
	t.Run("whether a call is retryable follows it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, retry.Config{})
			retryable := func() bool {
				call := p.Begin(true)
				return call.Retryable()
			}
			if !retryable() {
				t.Error("not retryable at first")
			}
			retries(p, 100)
			if retryable() {
				t.Error("retryable with the budget used up")
			}
			time.Sleep(time.Second)
			if !retryable() {
				t.Error("not retryable after a second")
			}
			retries(p, 100)
			for range 100 {
				p.Begin(true)
			}
			if !retryable() {
				t.Error("not retryable after a hundred good calls")
			}
		})
	})
	t.Run("off is five", func(t *testing.T) {
		if got := newPolicy(t, budget(-1, 0, 0)).BudgetLeft(); got != retry.MaxAttempts {
			t.Errorf("%v retries left without a budget, want %d", got, retry.MaxAttempts)
		}
	})
}

func TestBudgetIsNeverOverspent(t *testing.T) {
	for _, workers := range []int{2, 16} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 400
				p := newPolicy(t, retry.Config{Attempts: 5})
				var again atomic.Int64
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() { again.Add(int64(retries(p, calls))) })
				}
				wg.Wait()
				want := int64(workers*calls/5 + 10)
				if got := again.Load(); got > want {
					t.Errorf("%d retries of %d calls, want at most %d", got, workers*calls, want)
				}
				if left, got := p.BudgetLeft(), again.Load(); got+int64(left) != want {
					t.Errorf("%d retries and %v left, want %d in all", got, left, want)
				}
			})
		})
	}
}

// TestOutage simulates a minute in which everything fails.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 60_000
		p := newPolicy(t, retry.Config{Attempts: 5})
		attempts, began := 0, time.Now()
		for i := range n {
			attempts += 1 + retries(p, 1)
			most := 1.2*float64(i+1) + 10 + time.Since(began).Seconds()
			if float64(attempts) > most {
				t.Fatalf("%d attempts for %d calls, want at most %.1f", attempts, i+1, most)
			}
			time.Sleep(time.Millisecond)
		}
		if attempts < 1.19*n {
			t.Errorf("%d attempts for %d calls: the budget was not used", attempts, n)
		}
	})
}
