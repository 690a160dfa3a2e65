package retry_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/retry"
)

func newHedger(tb testing.TB, h retry.Hedge) *retry.Hedger {
	tb.Helper()
	hedger, err := retry.NewHedger(h)
	if err != nil {
		tb.Fatal(err)
	}
	return hedger
}

func TestHedgeWithDefaults(t *testing.T) {
	for _, tt := range []struct{ config, want retry.Hedge }{
		{retry.Hedge{}, retry.Hedge{Quantile: 0.995, Min: time.Millisecond}},
		{retry.Hedge{Quantile: 0.5, Min: 1, After: 1}, retry.Hedge{Quantile: 0.5, Min: 1, After: 1}},
	} {
		got, err := tt.config.WithDefaults()
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestBadHedge(t *testing.T) {
	for _, tt := range []struct {
		config retry.Hedge
		want   []string // the field, the value, what is allowed
	}{
		{retry.Hedge{Quantile: 1}, []string{"Hedge.Quantile", "is 1,", "less than 1"}},
		{retry.Hedge{Quantile: 0.49}, []string{"Hedge.Quantile", "0.49", "at least 0.5"}},
		{retry.Hedge{Quantile: -1}, []string{"Hedge.Quantile", "-1", "at least 0.5"}},
		{retry.Hedge{Quantile: math.NaN()}, []string{"Hedge.Quantile", "NaN", "at least 0.5"}},
		{retry.Hedge{Min: -1}, []string{"Hedge.Min", "-1ns", "more than 0"}},
		{retry.Hedge{After: -1}, []string{"Hedge.After", "-1ns", "more than 0"}},
	} {
		t.Run(tt.want[0]+" "+tt.want[1], func(t *testing.T) {
			_, err := tt.config.WithDefaults()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "retry: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
			if h, again := retry.NewHedger(tt.config); h != nil || again == nil {
				t.Errorf("NewHedger: %v, %v", h, again)
			}
		})
	}
}

// The wait is the quantile of what was seen, and at most a bucket above it.
func TestHedgerMeasures(t *testing.T) {
	for _, tt := range []struct {
		name     string
		quantile float64
		latency  func(i int) time.Duration // of the i-th of a thousand
		want     time.Duration
	}{
		{"even", 0.995, func(i int) time.Duration { return time.Duration(i) * time.Millisecond }, 994 * time.Millisecond},
		{"half", 0.5, func(i int) time.Duration { return time.Duration(i) * time.Millisecond }, 499 * time.Millisecond},
		{"all alike", 0.995, func(int) time.Duration { return 7 * time.Millisecond }, 7 * time.Millisecond},
		{"a few slow ones", 0.99, func(i int) time.Duration {
			if i < 9 {
				return time.Minute
			}
			return 5 * time.Millisecond
		}, 5 * time.Millisecond},
		{"more slow ones", 0.99, func(i int) time.Duration {
			if i < 11 {
				return time.Second
			}
			return 5 * time.Millisecond
		}, time.Second},
		{"faster than Min", 0.995, func(int) time.Duration { return 3 * time.Microsecond }, time.Millisecond},
		{"negative", 0.995, func(int) time.Duration { return -time.Second }, time.Millisecond},
		{"longer than four minutes", 0.995, func(int) time.Duration { return math.MaxInt64 }, 268 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHedger(t, retry.Hedge{Quantile: tt.quantile})
				for _, i := range rand.Perm(1000) {
					h.Observe(tt.latency(i))
				}
				if wait, known := h.Wait(); known {
					t.Errorf("the wait is %v at once", wait)
				}
				time.Sleep(3 * time.Second)
				h.Observe(tt.latency(500))
				wait, known := h.Wait()
				if !known || wait < tt.want || wait > tt.want+tt.want/31+20*time.Microsecond {
					t.Errorf("the wait is %v (%v), want %v", wait, known, tt.want)
				}
			})
		})
	}
}

// The wait follows the service within the last 15 s; what was before is forgotten.
func TestHedgerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedger(t, retry.Hedge{})
		run := func(latency time.Duration, spans int) time.Duration {
			for range spans * 300 {
				time.Sleep(10 * time.Millisecond)
				h.Observe(latency)
			}
			wait, _ := h.Wait()
			return wait
		}
		near := func(got, want time.Duration) bool { return got >= want && got < want+want/16 }
		if wait := run(100*time.Millisecond, 6); !near(wait, 100*time.Millisecond) {
			t.Errorf("the wait is %v, want 100 ms", wait)
		}
		if wait := run(200*time.Millisecond, 1); !near(wait, 200*time.Millisecond) {
			t.Errorf("the wait is %v after 3 s of a slower service, want 200 ms", wait)
		}
		if wait := run(20*time.Millisecond, 4); !near(wait, 200*time.Millisecond) {
			t.Errorf("the wait is %v within 15 s, want 200 ms still", wait)
		}
		if wait := run(20*time.Millisecond, 2); !near(wait, 20*time.Millisecond) {
			t.Errorf("the wait is %v after 18 s of a faster service, want 20 ms", wait)
		}
	})
}

// A service with few calls has a wait too, once there were enough.
func TestHedgerOfAQuietService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedger(t, retry.Hedge{})
		for i := range 1000 {
			time.Sleep(time.Second)
			h.Observe(50 * time.Millisecond)
			if wait, known := h.Wait(); known != (i >= 203) && (i < 199 || i > 203) {
				t.Fatalf("the wait is %v (%v) after %d calls, one a second", wait, known, i+1)
			}
		}
	})
}

func TestHedgerWithAFixedWait(t *testing.T) {
	h := newHedger(t, retry.Hedge{After: time.Second})
	h.Observe(time.Minute)
	if wait, known := h.Wait(); !known || wait != time.Second {
		t.Errorf("the wait is %v (%v), want 1 s", wait, known)
	}
}

func TestHedgerConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHedger(t, retry.Hedge{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					time.Sleep(10 * time.Millisecond)
					h.Observe(30 * time.Millisecond)
					h.Wait()
				}
			})
		}
		wg.Wait()
		if wait, _ := h.Wait(); wait < 30*time.Millisecond || wait > 31*time.Millisecond {
			t.Errorf("the wait is %v, want 30 ms", wait)
		}
	})
}

// Hedges and retries are paid for by one budget.
func TestHedgesShareTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolicy(t, retry.Config{})
		hedges, again := 0, 0
		for range 1000 {
			call := p.Begin(true)
			if call.Hedge() {
				hedges++
			}
			if call.Next(ifSafe, usual).Again {
				again++
			}
		}
		if sum := hedges + again; sum > 210 || sum < 200 || hedges == 0 {
			t.Errorf("%d hedges and %d retries of 1000 calls, want 210 in all", hedges, again)
		}
		unsafe := newPolicy(t, retry.Config{}).Begin(false)
		if unsafe.Hedge() {
			t.Error("a call was hedged that must not be repeated")
		}
	})
}
