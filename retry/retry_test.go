package retry_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

func TestIdempotent(t *testing.T) {
	for method, want := range map[string]bool{
		"": true, "GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "BREW": false,
	} {
		if got := retry.Idempotent(method); got != want {
			t.Errorf("Idempotent(%q) is %t, want %t", method, got, want)
		}
	}
}

func TestNext(t *testing.T) {
	asks := func(d time.Duration) balancer.Outcome {
		o := ifSafe
		o.RetryAfter = d
		return o
	}
	last := retry.Situation{Replayable: true}
	for _, tt := range []struct {
		name      string
		config    retry.Config
		unsafe    bool
		outcome   balancer.Outcome
		situation retry.Situation
		want      retry.Reason
	}{
		{"safe", retry.Config{}, false, ifSafe, usual, retry.ReasonSent},
		{"unsafe", retry.Config{}, true, ifSafe, usual, retry.ReasonUnsafe},
		{"safe, not acted on", retry.Config{}, false, always, usual, retry.ReasonSent},
		{"unsafe, not acted on", retry.Config{}, true, always, usual, retry.ReasonSent},
		{"success", retry.Config{}, false, final, usual, retry.ReasonFinal},
		{"nothing known", retry.Config{}, false, balancer.Outcome{}, usual, retry.ReasonFinal},
		{"no Resend at all", retry.Config{}, true, balancer.Outcome{Resend: 77}, usual, retry.ReasonFinal},
		{"one attempt", retry.Config{Attempts: 1}, false, always, usual, retry.ReasonAttempts},
		{"body gone", retry.Config{}, false, ifSafe, retry.Situation{Others: true}, retry.ReasonBody},
		{"body gone, not acted on", retry.Config{}, true, always, retry.Situation{Others: true}, retry.ReasonBody},
		{"no time left", retry.Config{}, false, ifSafe, retry.Situation{Replayable: true, Others: true, Remaining: 0 - time.Second}, retry.ReasonDeadline},
		{"hardly any time left", retry.Config{Backoff: retry.Backoff{Base: time.Hour}}, false, ifSafe, retry.Situation{Replayable: true, Others: true, Remaining: 1}, retry.ReasonDeadline},
		{"time enough", retry.Config{}, false, ifSafe, retry.Situation{Replayable: true, Others: true, Remaining: time.Second}, retry.ReasonSent},
		{"the only endpoint asks for too long", retry.Config{}, false, asks(10*time.Second + 1), last, retry.ReasonRetryAfter},
		{"the only endpoint asks for ten seconds", retry.Config{}, false, asks(10 * time.Second), last, retry.ReasonSent},
		{"not for longer than the call has", retry.Config{}, false, asks(2 * time.Second), retry.Situation{Replayable: true, Remaining: 2 * time.Second}, retry.ReasonDeadline},
		{"elsewhere at once", retry.Config{}, false, asks(time.Hour), usual, retry.ReasonSent},
		{"elsewhere in time", retry.Config{}, false, asks(time.Hour), retry.Situation{Replayable: true, Others: true, Remaining: time.Second}, retry.ReasonSent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPolicy(t, tt.config)
			call := p.Begin(!tt.unsafe)
			got := call.Next(tt.outcome, tt.situation)
			if got.Reason != tt.want || got.Again != (tt.want == retry.ReasonSent) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
			if !got.Again && got.Wait != 0 {
				t.Errorf("it waits %v for nothing", got.Wait)
			}
			if left := p.BudgetLeft(); left != 10 && !got.Again || left != 9 && got.Again {
				t.Errorf("the budget has %v retries left after %+v", left, got)
			}
		})
	}
	t.Run("no budget", func(t *testing.T) {
		p := newPolicy(t, retry.Config{Budget: retry.Budget{Burst: -1}})
		call := p.Begin(true)
		if got := call.Next(ifSafe, usual); got != (retry.Decision{Reason: retry.ReasonBudget}) {
			t.Errorf("%+v, want %q", got, retry.ReasonBudget)
		}
	})
}

func TestAttempts(t *testing.T) {
	for _, tt := range []struct{ config, want int }{{0, 2}, {1, 1}, {2, 2}, {3, 3}, {5, 5}} {
		t.Run(fmt.Sprint(tt.config), func(t *testing.T) {
			p := newPolicy(t, noBudget(retry.Config{Attempts: tt.config}))
			call := p.Begin(true)
			for made := 1; ; made++ {
				if got := call.Attempts(); got != tt.want-made+1 {
					t.Errorf("before attempt %d: %d attempts left, want %d", made, got, tt.want-made+1)
				}
				if got := call.Retryable(); got != (made < tt.want) {
					t.Errorf("before attempt %d: retryable %t", made, got)
				}
				next := call.Next(ifSafe, usual)
				if next.Again {
					continue
				}
				if next.Reason != retry.ReasonAttempts || made != tt.want {
					t.Errorf("%q after %d attempts, want %q after %d", next.Reason, made, retry.ReasonAttempts, tt.want)
				}
				break
			}
		})
	}
}

func TestRetryable(t *testing.T) {
	p := newPolicy(t, retry.Config{})
	if call := p.Begin(true); !call.Retryable() {
		t.Error("a safe call is not retryable")
	}
	if call := p.Begin(false); call.Retryable() {
		t.Error("an unsafe call is retryable")
	}
	broke := newPolicy(t, retry.Config{Budget: retry.Budget{Burst: -1}})
	for i := range 5 {
		if call := broke.Begin(true); call.Retryable() != (i == 4) {
			t.Errorf("call %d without a reserve: retryable %t", i+1, call.Retryable())
		}
	}
}

func TestSafe(t *testing.T) {
	type key struct{}
	p := newPolicy(t, retry.Config{Safe: func(ctx context.Context, method, path string) bool {
		return method == "POST" && path == "/search" && ctx.Value(key{}) != nil
	}})
	ctx := context.WithValue(t.Context(), key{}, true)
	if !p.Safe(ctx, "POST", "/search") || p.Safe(ctx, "POST", "/orders") || p.Safe(t.Context(), "POST", "/search") {
		t.Error("Safe does not ask the predicate")
	}
	if newPolicy(t, retry.Config{}).Safe(ctx, "POST", "/search") {
		t.Error("without a predicate a POST is safe")
	}
}

// The pauses have full jitter: uniform between zero and the bound, which
// doubles. Twenty classes of 10,000 draws are compared by chi-squared.
func TestBackoff(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		name   string
		config retry.Backoff
		bounds []time.Duration
	}{
		{"default", retry.Backoff{}, []time.Duration{25 * ms, 50 * ms, 100 * ms, 200 * ms}},
		{"capped", retry.Backoff{Base: 40 * ms, Max: 100 * ms}, []time.Duration{40 * ms, 80 * ms, 100 * ms, 100 * ms}},
		{"constant", retry.Backoff{Base: 40 * ms, Max: 40 * ms}, []time.Duration{40 * ms, 40 * ms, 40 * ms, 40 * ms}},
		{"long", retry.Backoff{Base: time.Hour, Max: 24 * time.Hour}, []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const draws, classes = 10_000, 20
			p := newPolicy(t, noBudget(retry.Config{Attempts: 5, Backoff: tt.config}))
			var counts [4][classes]int
			for range draws {
				call := p.Begin(true)
				for k, bound := range tt.bounds {
					d := call.Next(ifSafe, usual)
					if !d.Again || d.Wait < 0 || d.Wait > bound {
						t.Fatalf("retry %d: %+v, want a wait of 0 to %v", k+1, d, bound)
					}
					counts[k][min(int(d.Wait*classes/bound), classes-1)]++
				}
			}
			for k := range counts {
				chi2, want := 0.0, float64(draws)/classes
				for _, n := range counts[k] {
					chi2 += (float64(n) - want) * (float64(n) - want) / want
				}
				if chi2 > 63.2 { // 19 degrees of freedom, alpha 1e-6
					t.Errorf("retry %d: chi-squared is %.1f over %v", k+1, chi2, counts[k])
				}
			}
		})
	}
	t.Run("never above a bound of nanoseconds", func(t *testing.T) {
		for _, bound := range []time.Duration{1, 2, 3, 7} {
			p := newPolicy(t, noBudget(retry.Config{Attempts: 5, Backoff: retry.Backoff{Base: bound, Max: bound}}))
			for range 1000 {
				call := p.Begin(true)
				for range 4 {
					if d := call.Next(ifSafe, usual); d.Wait < 0 || d.Wait > bound {
						t.Fatalf("a wait of %v, want at most %v", d.Wait, bound)
					}
				}
			}
		}
	})
	t.Run("a call may take long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, noBudget(retry.Config{Attempts: 5}))
			call := p.Begin(true)
			for range 4 {
				if d := call.Next(ifSafe, usual); !d.Again || d.Wait < 0 {
					t.Errorf("%+v, want another attempt", d)
				}
				time.Sleep(20 * time.Minute)
			}
		})
	})
	t.Run("calls do not share it", func(t *testing.T) {
		p := newPolicy(t, noBudget(retry.Config{Attempts: 5}))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					call := p.Begin(true)
					for _, bound := range []time.Duration{25 * ms, 50 * ms, 100 * ms, 200 * ms} {
						if d := call.Next(ifSafe, usual); d.Wait > bound {
							t.Errorf("a wait of %v, want at most %v", d.Wait, bound)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestRetryAfter(t *testing.T) {
	for _, asked := range []time.Duration{1, time.Millisecond, time.Second, 6 * time.Second, 8 * time.Second, 10 * time.Second} {
		t.Run(asked.String(), func(t *testing.T) {
			p := newPolicy(t, noBudget(retry.Config{}))
			o := ifSafe
			o.RetryAfter = asked
			most := min(asked*3/2, retry.MaxRetryAfter)
			sum, atMost := 0.0, 0
			const draws = 2000
			for range draws {
				call := p.Begin(true)
				d := call.Next(o, retry.Situation{Replayable: true})
				if !d.Again || d.Wait < asked || d.Wait > most {
					t.Fatalf("%+v, want a wait of %v to %v", d, asked, most)
				}
				if d.Wait == most {
					atMost++
				}
				sum += float64(d.Wait)
			}
			mean, want := sum/draws, float64(asked+most)/2
			if asked > time.Microsecond && math.Abs(mean-want) > 0.05*want {
				t.Errorf("the mean wait is %v, want about %v", time.Duration(mean), time.Duration(want))
			}
			if atMost > 5 && asked < most && asked > time.Microsecond {
				t.Errorf("%d of %d waits are the longest: they would come back in step", atMost, draws)
			}
			call := p.Begin(true)
			if d := call.Next(o, usual); d.Wait > 25*time.Millisecond {
				t.Errorf("%v although another endpoint is ready", d.Wait)
			}
		})
	}
}

func TestAllocCall(t *testing.T) {
	p := newPolicy(t, retry.Config{})
	for _, tt := range []struct {
		name    string
		outcome balancer.Outcome
		safe    bool
	}{{"success", final, true}, {"unsafe", ifSafe, false}} {
		t.Run(tt.name, func(t *testing.T) {
			got := testing.AllocsPerRun(1000, func() {
				call := p.Begin(tt.safe)
				if call.Retryable() != tt.safe || call.Next(tt.outcome, usual).Again {
					t.Fatal("sent again")
				}
			})
			if got != 0 {
				t.Errorf("a call without a retry allocates %v times, want 0", got)
			}
		})
	}
}
