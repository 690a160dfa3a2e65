package breaker_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

const (
	neutral  = balancer.Neutral
	success  = balancer.Success
	failure  = balancer.Failure
	overload = balancer.Overload
	suspect  = balancer.Suspect
)

func TestDown(t *testing.T) {
	many := func(n int, v balancer.Verdict) []balancer.Verdict {
		vs := make([]balancer.Verdict, n)
		for i := range vs {
			vs[i] = v
		}
		return vs
	}
	join := func(parts ...[]balancer.Verdict) (all []balancer.Verdict) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(v balancer.Verdict) []balancer.Verdict { return many(1, v) }
	for _, tt := range []struct {
		name     string
		config   breaker.Config
		verdicts []balancer.Verdict
		want     breaker.State
	}{
		{"four failures", breaker.Config{}, many(4, failure), breaker.Closed},
		{"five failures", breaker.Config{}, many(5, failure), breaker.Open},
		{"a success ends the row", breaker.Config{}, join(many(4, failure), one(success), many(4, failure)), breaker.Closed},
		{"and another may begin", breaker.Config{}, join(many(4, failure), one(success), many(5, failure)), breaker.Open},
		{"neutral does not add", breaker.Config{}, join(many(4, failure), many(20, neutral)), breaker.Closed},
		{"neutral does not reset", breaker.Config{}, join(many(4, failure), many(20, neutral), one(failure)), breaker.Open},
		{"overload does not add", breaker.Config{}, join(many(4, failure), many(20, overload)), breaker.Closed},
		{"overload does not reset", breaker.Config{}, join(many(4, failure), many(20, overload), one(failure)), breaker.Open},
		{"overload never opens", breaker.Config{}, many(1000, overload), breaker.Closed},
		{"neutral never opens", breaker.Config{}, many(1000, neutral), breaker.Closed},
		{"suspicion never opens", breaker.Config{}, many(1000, suspect), breaker.Closed},
		{"no verdict at all", breaker.Config{}, many(1000, 77), breaker.Closed},
		{"nor the one used inside", breaker.Config{}, many(1000, 255), breaker.Closed},
		{"one is enough", breaker.Config{ConsecutiveFailures: 1}, one(failure), breaker.Open},
		{"rule off", breaker.Config{ConsecutiveFailures: -1}, many(1000, failure), breaker.Closed},
		{"other rule off", breaker.Config{SuccessRatio: -1}, many(5, failure), breaker.Open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBreaker(t, tt.config)
			for i, v := range tt.verdicts {
				if !call(t, b, v) {
					t.Fatalf("call %d was refused", i+1)
				}
			}
			wantState(t, b, tt.want)
			if admitted := call(t, b, success); admitted != (tt.want == breaker.Closed) {
				t.Errorf("the next call: admitted %t", admitted)
			}
		})
	}
}

func TestEnded(t *testing.T) {
	t.Run("answers that break off open it", func(t *testing.T) {
		b := newBreaker(t, breaker.Config{})
		for range 4 {
			calls(t, b, 1, success)
			b.Ended(failure)
		}
		wantState(t, b, breaker.Closed)
		calls(t, b, 100, success)
		wantState(t, b, breaker.Closed)
		b.Ended(failure)
		wantState(t, b, breaker.Open)
	})
	t.Run("a good end ends the row", func(t *testing.T) {
		b := newBreaker(t, breaker.Config{})
		for range 4 {
			b.Ended(failure)
		}
		b.Ended(success)
		for range 4 {
			b.Ended(failure)
		}
		wantState(t, b, breaker.Closed)
		b.Ended(failure)
		wantState(t, b, breaker.Open)
	})
	t.Run("other ends are none", func(t *testing.T) {
		b := newBreaker(t, breaker.Config{})
		for range 4 {
			b.Ended(failure)
		}
		for _, v := range []balancer.Verdict{neutral, overload, suspect, 77, 255} {
			for range 10 {
				b.Ended(v)
			}
		}
		wantState(t, b, breaker.Closed)
		b.Ended(failure)
		wantState(t, b, breaker.Open)
	})
	t.Run("nothing counts while not closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			calls(t, b, 5, failure)
			for range 10 {
				b.Ended(failure)
			}
			wantPeriod(t, openPeriod(t, b), time.Second, time.Hour)
			for range 10 {
				b.Ended(failure)
			}
			wantState(t, b, breaker.HalfOpen)
			calls(t, b, 1, success)
			for range 4 {
				b.Ended(failure)
			}
			wantState(t, b, breaker.Closed)
		})
	})
}

func TestOpenPeriods(t *testing.T) {
	second := time.Second
	t.Run("double with each failed probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			calls(t, b, 5, failure)
			for _, nominal := range []time.Duration{second, 2 * second, 4 * second, 8 * second, 10 * second, 10 * second, 10 * second} {
				wantPeriod(t, openPeriod(t, b), nominal, 10*second)
				wantState(t, b, breaker.HalfOpen)
				calls(t, b, 1, failure)
			}
		})
	})
	t.Run("double when it opens again soon", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			for _, nominal := range []time.Duration{second, 2 * second, 4 * second, 8 * second, 10 * second} {
				calls(t, b, 5, failure)
				wantPeriod(t, openPeriod(t, b), nominal, 10*second)
				calls(t, b, 1, success)
				wantState(t, b, breaker.Closed)
				time.Sleep(19 * second)
			}
			time.Sleep(2 * second)
			calls(t, b, 5, failure)
			wantPeriod(t, openPeriod(t, b), second, 10*second)
		})
	})
	t.Run("are varied evenly and never above the maximum", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const longest = time.Second
			b := newBreaker(t, breaker.Config{OpenFor: longest, MaxOpenFor: longest})
			defer b.Close()
			calls(t, b, 5, failure)
			atMost, low := 0, 0
			for range 400 {
				d := openPeriod(t, b)
				wantPeriod(t, d, longest, longest)
				if d >= longest {
					atMost++
				}
				if d < longest*9/10 {
					low++
				}
				calls(t, b, 1, failure)
			}
			if atMost > 10 {
				t.Errorf("%d of 400 periods are the maximum: their probes would march in step", atMost)
			}
			if low < 140 || low > 260 { // 200 ± 6 standard deviations
				t.Errorf("%d of 400 periods are in the lower half, want about 200", low)
			}
		})
	})
	t.Run("one breaker without peers keeps to its configuration", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{OpenFor: 30 * second})
			defer b.Close()
			calls(t, b, 5, failure)
			wantPeriod(t, openPeriod(t, b), 30*second, 30*second)
		})
	})
	t.Run("at the edge of what a duration holds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const longest = 1<<63 - 1
			b := newBreaker(t, breaker.Config{OpenFor: longest / 3, MaxOpenFor: longest})
			defer b.Close()
			calls(t, b, 5, failure)
			time.Sleep(30 * 24 * time.Hour)
			wantState(t, b, breaker.Open)
		})
	})
	t.Run("Hasten shortens", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{OpenFor: 10 * second})
			defer b.Close()
			b.Hasten() // nothing runs
			calls(t, b, 5, failure)
			time.Sleep(second)
			b.Hasten()
			wantPeriod(t, openPeriod(t, b), second, second)
			b.Hasten()
			wantState(t, b, breaker.HalfOpen)
			calls(t, b, 1, failure)
			time.Sleep(7500 * time.Millisecond)
			b.Hasten()
			b.Hasten()
			if d := openPeriod(t, b); d > second {
				t.Errorf("%v after Hasten, want at most 1s", d)
			}
		})
	})
	t.Run("Hasten does not lengthen", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{OpenFor: 100 * time.Millisecond})
			defer b.Close()
			calls(t, b, 5, failure)
			for range 50 {
				time.Sleep(time.Millisecond)
				b.Hasten()
			}
			if d := openPeriod(t, b); d > 71*time.Millisecond {
				t.Errorf("%v after Hasten, want at most the rest of the period", d)
			}
		})
	})
}

// A node that fails half of the time passes half of its probes; it must be let
// out less and less often all the same.
func TestUnreliableNodeIsExiledLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, breaker.Config{})
		defer b.Close()
		var open time.Duration
		began := time.Now()
		for i := 0; time.Since(began) < 10*time.Minute; i++ {
			if b.State() == breaker.Open {
				open += openPeriod(t, b)
			}
			// Six calls fail, six succeed: half of the probes pass.
			v := success
			if i/6%2 == 0 {
				v = failure
			}
			calls(t, b, 1, v)
			time.Sleep(10 * time.Millisecond)
		}
		if share := float64(open) / float64(time.Since(began)); share < 0.95 {
			t.Errorf("open for %.0f %% of the time, want more than 95", 100*share)
		}
	})
}

func TestHalfOpen(t *testing.T) {
	for _, tt := range []struct {
		name  string
		probe balancer.Verdict
		want  breaker.State
	}{
		{"success closes", success, breaker.Closed},
		{"overload closes", overload, breaker.Closed},
		{"suspicion closes", suspect, breaker.Closed},
		{"failure opens again", failure, breaker.Open},
		{"neutral frees the place", neutral, breaker.HalfOpen},
		{"no verdict frees the place", 77, breaker.HalfOpen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, breaker.Config{})
				defer b.Close()
				calls(t, b, 5, failure)
				openPeriod(t, b)
				probe := admit(t, b)
				for range 3 {
					if call(t, b, success) {
						t.Fatal("a second call was admitted beside the probe")
					}
					time.Sleep(breaker.ProbeTimeout / 4)
				}
				wantState(t, b, breaker.HalfOpen)
				b.Done(probe, balancer.Outcome{Verdict: tt.probe})
				wantState(t, b, tt.want)
				if admitted := call(t, b, neutral); admitted != (tt.want != breaker.Open) {
					t.Errorf("the next call: admitted %t", admitted)
				}
			})
		})
	}
	t.Run("a probe that hangs gives way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			calls(t, b, 5, failure)
			openPeriod(t, b)
			hung := admit(t, b)
			time.Sleep(breaker.ProbeTimeout)
			synctest.Wait()
			next := admit(t, b)
			b.Done(hung, balancer.Outcome{Verdict: failure})
			wantState(t, b, breaker.HalfOpen)
			b.Done(next, balancer.Outcome{Verdict: success})
			wantState(t, b, breaker.Closed)
		})
	})
	t.Run("a thousand neutral probes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			calls(t, b, 5, failure)
			openPeriod(t, b)
			calls(t, b, 1000, neutral)
			probe := admit(t, b)
			if call(t, b, success) {
				t.Fatal("a second call was admitted beside the probe")
			}
			b.Done(probe, balancer.Outcome{Verdict: success})
			wantState(t, b, breaker.Closed)
		})
	})
	t.Run("one at a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{})
			defer b.Close()
			calls(t, b, 5, failure)
			openPeriod(t, b)
			var mu sync.Mutex
			var tokens []any
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if token, err := b.Allow(); err == nil {
						mu.Lock()
						defer mu.Unlock()
						tokens = append(tokens, token)
					}
				})
			}
			wg.Wait()
			if len(tokens) != 1 {
				t.Fatalf("%d calls were admitted at once, want 1", len(tokens))
			}
		})
	})
}

// What was admitted before a change of state says nothing about the new one.
func TestLateReportsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, breaker.Config{})
		defer b.Close()
		var old []any
		for range 100 {
			old = append(old, admit(t, b))
		}
		late := func(n int, v balancer.Verdict) {
			for _, token := range old[:n] {
				b.Done(token, balancer.Outcome{Verdict: v})
			}
			old = old[n:]
		}
		late(5, failure)
		wantState(t, b, breaker.Open)
		late(10, success)
		time.Sleep(500 * time.Millisecond)
		late(10, success)
		late(10, failure)
		wantState(t, b, breaker.Open)
		if call(t, b, success) {
			t.Fatal("a late report ended the exile")
		}
		if d := openPeriod(t, b); d > 700*time.Millisecond {
			t.Fatalf("a late report lengthened the exile by %v", d)
		}
		probe := admit(t, b)
		late(10, success)
		late(10, failure)
		late(10, neutral)
		wantState(t, b, breaker.HalfOpen)
		if call(t, b, success) {
			t.Fatal("a late report freed the probe's place")
		}
		b.Done(probe, balancer.Outcome{Verdict: success})
		wantState(t, b, breaker.Closed)
		late(len(old), failure)
		wantState(t, b, breaker.Closed)
		calls(t, b, 4, failure)
		wantState(t, b, breaker.Closed)
		calls(t, b, 1, failure)
		wantState(t, b, breaker.Open)
	})
}

func TestInvalidTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, breaker.Config{ConsecutiveFailures: 1})
		defer b.Close()
		invalid := func() {
			for _, token := range []any{nil, 1, "token", struct{}{}, func() {}, func(error) { t.Error("called") }, (func(error))(nil), (*int)(nil)} {
				b.Done(token, balancer.Outcome{Verdict: failure})
			}
		}
		invalid()
		wantState(t, b, breaker.Closed)
		calls(t, b, 1, failure)
		openPeriod(t, b)
		invalid()
		wantState(t, b, breaker.HalfOpen)
		calls(t, b, 1, success)
		wantState(t, b, breaker.Closed)
	})
}

// counted is a gate of the user's that is a breaker and more.
type counted struct {
	*breaker.Breaker
	done int
}

func (g *counted) Done(token any, o balancer.Outcome) {
	g.done++
	g.Breaker.Done(token, o)
}

// What is made of a breaker is told of its calls itself.
func TestGateAroundABreaker(t *testing.T) {
	own, err := breaker.New(breaker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	g := &counted{Breaker: own}
	b := balancer.New(balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) { return nil, []balancer.Gate{g} }})
	defer b.Close()
	if err := b.Update([]discovery.Endpoint{{Addr: "a:1"}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l, err := b.Pick(&balancer.Info{})
		if err != nil {
			t.Fatal(err)
		}
		l.Report(balancer.Outcome{Verdict: failure})
		l.Release()
	}
	if g.done != 5 || own.State() != breaker.Open {
		t.Errorf("the gate was told of %d of 5 failures, and its breaker is %v, want open", g.done, own.State())
	}
}

func TestDo(t *testing.T) {
	outcome := func(v balancer.Verdict) func() balancer.Outcome {
		return func() balancer.Outcome { return balancer.Outcome{Verdict: v} }
	}
	t.Run("outcomes", func(t *testing.T) {
		b := newBreaker(t, breaker.Config{ConsecutiveFailures: 2})
		for _, v := range []balancer.Verdict{failure, success, failure, failure} {
			if err := b.Do(outcome(v)); err != nil {
				t.Fatal(err)
			}
		}
		wantState(t, b, breaker.Open)
		err := b.Do(func() balancer.Outcome {
			t.Error("an open breaker called")
			return balancer.Outcome{}
		})
		if !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("Do: %v, want ErrOpen", err)
		}
	})
	t.Run("a panic is a failure and goes on", func(t *testing.T) {
		b := newBreaker(t, breaker.Config{ConsecutiveFailures: 1})
		func() {
			defer func() {
				if r := recover(); r != "oh" {
					t.Errorf("recovered %v, want what call panicked with", r)
				}
			}()
			_ = b.Do(func() balancer.Outcome { panic("oh") })
		}()
		wantState(t, b, breaker.Open)
	})
	t.Run("a panicking probe frees its place", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, breaker.Config{ConsecutiveFailures: 1})
			defer b.Close()
			calls(t, b, 1, failure)
			openPeriod(t, b)
			func() {
				defer func() { _ = recover() }()
				_ = b.Do(func() balancer.Outcome { panic("oh") })
			}()
			openPeriod(t, b)
			if err := b.Do(outcome(success)); err != nil {
				t.Error(err)
			}
			wantState(t, b, breaker.Closed)
		})
	})
}

func TestStateString(t *testing.T) {
	for s, want := range map[breaker.State]string{breaker.Closed: "closed", breaker.Open: "open", breaker.HalfOpen: "half-open", 7: "invalid"} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) is %q, want %q", s, got, want)
		}
	}
}

// gobreaker's own admission is the one allocation.
func TestAllocCall(t *testing.T) {
	_, members := newFleet(t, breaker.Config{}, 3)
	got := testing.AllocsPerRun(1000, func() {
		call(t, members[0], success)
		members[0].Ended(success)
	})
	if got > 1 {
		t.Errorf("a call allocates %v times, want at most once", got)
	}
}
