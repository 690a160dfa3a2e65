package breaker_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// failuresToOpen returns how many failures in a row it takes.
func failuresToOpen(tb testing.TB, b *breaker.Breaker) int {
	tb.Helper()
	for n := 1; n <= 100; n++ {
		calls(tb, b, 1, failure)
		if b.State() == breaker.Open {
			return n
		}
	}
	tb.Fatal("100 failures do not open it")
	return 0
}

// The fewer are left, the more proof it takes.
func TestFleets(t *testing.T) {
	for _, tt := range []struct {
		size int
		want []int // failures in a row that open the first, the second, …
	}{
		{1, []int{15}},
		{2, []int{5, 15}},
		{3, []int{5, 15, 15}},
		{4, []int{5, 5, 15, 15}},
		{10, []int{5, 5, 5, 5, 5, 15, 15, 15, 15, 15}},
	} {
		t.Run(fmt.Sprint(tt.size), func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, tt.size)
			for i, b := range members {
				if got := failuresToOpen(t, b); got != tt.want[i] {
					t.Errorf("the breaker that opens as number %d takes %d failures, want %d", i+1, got, tt.want[i])
				}
			}
		})
	}
	t.Run("a row of failures counts when others close again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			calls(t, members[1], 14, failure)
			wantState(t, members[1], breaker.Closed)
			openPeriod(t, members[0])
			calls(t, members[0], 1, success)
			calls(t, members[1], 1, failure)
			wantState(t, members[1], breaker.Open)
		})
	})
	t.Run("answers that break off", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 1)
		for range 14 {
			members[0].Ended(failure)
		}
		wantState(t, members[0], breaker.Closed)
		members[0].Ended(failure)
		wantState(t, members[0], breaker.Open)
	})
	t.Run("half-open members are not closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			openPeriod(t, members[0])
			wantState(t, members[0], breaker.HalfOpen)
			if got := failuresToOpen(t, members[1]); got != 15 {
				t.Errorf("%d failures open the last, want 15", got)
			}
		})
	})
	t.Run("those who left do not count", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 4)
		calls(t, members[0], 5, failure)
		members[0].Close()
		members[1].Close()
		members[1].Close()
		// Two are left, both closed.
		if got := failuresToOpen(t, members[2]); got != 5 {
			t.Errorf("%d failures open one of two, want 5", got)
		}
		if got := failuresToOpen(t, members[3]); got != 15 {
			t.Errorf("%d failures open the last, want 15", got)
		}
	})
	t.Run("the most failures there can be", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{ConsecutiveFailures: 1<<31 - 1}, 1)
		calls(t, members[0], 1000, failure)
		wantState(t, members[0], breaker.Closed)
	})
}

func closeAll(members []*breaker.Breaker) {
	for _, b := range members {
		b.Close()
	}
}

// Many who fail at once must not all believe that the others are left.
func TestSimultaneousOpenings(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 10, 33} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			for range 50 {
				_, members := newFleet(t, breaker.Config{}, size)
				start := make(chan struct{})
				var wg sync.WaitGroup
				for _, b := range members {
					wg.Go(func() {
						<-start
						for range 6 {
							call(t, b, failure)
						}
					})
				}
				close(start)
				wg.Wait()
				closed := 0
				for _, b := range members {
					if b.State() == breaker.Closed {
						closed++
					}
				}
				if want := (size + 1) / 2; closed != want {
					t.Fatalf("%d of %d are closed, want %d", closed, size, want)
				}
			}
		})
	}
}

// What a breaker is told after it was closed for good must not reach the others.
func TestLateReportsAfterCloseDoNotReachTheGroup(t *testing.T) {
	t.Run("failures", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 4)
		gone := members[3]
		var tokens []any
		for range 20 {
			tokens = append(tokens, admit(t, gone))
		}
		gone.Close()
		for _, token := range tokens {
			gone.Done(token, balancer.Outcome{Verdict: failure})
			gone.Ended(failure)
		}
		wantState(t, gone, breaker.Closed)
		gone.Close()
		// Three are left: the first opens after 5, the second would leave one.
		for i, want := range []int{5, 15, 15} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
	})
	t.Run("the success of a probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, 3)
			defer closeAll(members)
			gone := members[2]
			calls(t, gone, 5, failure)
			openPeriod(t, gone)
			probe := admit(t, gone)
			gone.Close()
			gone.Done(probe, balancer.Outcome{Verdict: success})
			wantState(t, gone, breaker.HalfOpen)
			gone.Close()
			for i, want := range []int{5, 15} {
				if got := failuresToOpen(t, members[i]); got != want {
					t.Errorf("member %d: %d failures, want %d", i, got, want)
				}
			}
		})
	})
}

func TestDraining(t *testing.T) {
	t.Run("is not left to take the calls", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 4)
		members[2].SetDraining(true)
		members[3].SetDraining(true)
		members[3].SetDraining(true)
		for i, want := range []int{5, 15} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
	})
	t.Run("takes nothing away when it opens", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 3)
		members[2].SetDraining(true)
		for i, want := range map[int]int{2: 5} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
		for i, want := range []int{5, 15} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
	})
	t.Run("counts again when it takes calls again", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 4)
		calls(t, members[3], 5, failure)
		for _, b := range members {
			b.SetDraining(true)
		}
		for _, b := range members {
			b.SetDraining(false)
		}
		for i, want := range []int{5, 15, 15} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
	})
	t.Run("and leaves", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{}, 3)
		members[2].SetDraining(true)
		calls(t, members[2], 5, failure)
		members[2].Close()
		members[2].SetDraining(false)
		for i, want := range []int{5, 15} {
			if got := failuresToOpen(t, members[i]); got != want {
				t.Errorf("member %d: %d failures, want %d", i, got, want)
			}
		}
	})
	t.Run("the open period is short although it is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{OpenFor: 10 * time.Second}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			time.Sleep(time.Second)
			members[1].SetDraining(true)
			if d := openPeriod(t, members[0]); d > time.Second {
				t.Errorf("open for another %v with nobody left, want at most 1s", d)
			}
		})
	})
}

func TestWholeGroupOpen(t *testing.T) {
	t.Run("periods are at most a second", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for _, size := range []int{1, 3} {
				_, members := newFleet(t, breaker.Config{OpenFor: 4 * time.Second}, size)
				defer closeAll(members)
				for _, b := range members {
					failuresToOpen(t, b)
				}
				for range 20 {
					wantPeriod(t, openPeriod(t, members[0]), time.Second, time.Second)
					calls(t, members[0], 1, failure)
				}
			}
		})
	})
	t.Run("the running ones are shortened", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{OpenFor: 10 * time.Second}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			time.Sleep(2 * time.Second)
			calls(t, members[1], 15, failure)
			began := time.Now()
			openPeriod(t, members[0])
			if d := time.Since(began); d > time.Second {
				t.Errorf("the first is open for another %v, want at most 1s", d)
			}
			time.Sleep(time.Second - time.Since(began))
			synctest.Wait()
			wantState(t, members[1], breaker.HalfOpen)
		})
	})
	t.Run("also when the last closed one leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{OpenFor: 10 * time.Second}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			members[1].Close()
			if d := openPeriod(t, members[0]); d > time.Second {
				t.Errorf("open for another %v, want at most 1s", d)
			}
		})
	})
	t.Run("they double where one is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, 2)
			defer closeAll(members)
			calls(t, members[0], 5, failure)
			for _, nominal := range []time.Duration{1, 2, 4, 8, 10} {
				wantPeriod(t, openPeriod(t, members[0]), nominal*time.Second, 10*time.Second)
				calls(t, members[0], 1, failure)
			}
		})
	})
}

// mixed makes good and bad calls, the bad ones spread and never in a row longer
// than the bad outnumber the good.
func mixed(tb testing.TB, b *breaker.Breaker, good, bad int, v balancer.Verdict) {
	tb.Helper()
	total := good + bad
	for i := range total {
		if (i+1)*bad/total > i*bad/total {
			call(tb, b, v)
		} else {
			call(tb, b, success)
		}
	}
}

// The second rule looks at a failure: each case ends with one.
func TestWorse(t *testing.T) {
	type share struct{ good, bad int }
	for _, tt := range []struct {
		name   string
		config breaker.Config
		own    share
		peers  []share
		want   breaker.State
	}{
		{"clearly worse", breaker.Config{}, share{15, 5}, []share{{20, 0}, {20, 0}}, breaker.Open},
		{"too few samples", breaker.Config{}, share{9, 10}, []share{{20, 0}, {20, 0}}, breaker.Closed},
		{"as few as asked for", breaker.Config{MinSamples: 8}, share{4, 4}, []share{{20, 0}, {20, 0}}, breaker.Open},
		{"80 % is enough", breaker.Config{}, share{80, 20}, []share{{100, 0}, {100, 0}}, breaker.Closed},
		{"79 % is not", breaker.Config{}, share{79, 21}, []share{{100, 0}, {100, 0}}, breaker.Open},
		{"another ratio", breaker.Config{SuccessRatio: 0.5}, share{60, 40}, []share{{100, 0}, {100, 0}}, breaker.Closed},
		{"switched off", breaker.Config{SuccessRatio: -1, ConsecutiveFailures: -1}, share{0, 100}, []share{{100, 0}, {100, 0}}, breaker.Closed},
		{"less than 20 points worse", breaker.Config{}, share{70, 30}, []share{{88, 12}, {88, 12}}, breaker.Closed},
		{"more than 20 points worse", breaker.Config{}, share{69, 31}, []share{{90, 10}, {90, 10}}, breaker.Open},
		{"less than twice as bad", breaker.Config{}, share{40, 60}, []share{{65, 35}, {65, 35}}, breaker.Closed},
		{"twice as bad", breaker.Config{ConsecutiveFailures: -1}, share{30, 70}, []share{{65, 35}, {65, 35}}, breaker.Open},
		{"all as bad", breaker.Config{}, share{78, 22}, []share{{78, 22}, {78, 22}}, breaker.Closed},
		{"all half bad", breaker.Config{}, share{50, 50}, []share{{50, 50}, {50, 50}}, breaker.Closed},
		{"all quite bad", breaker.Config{ConsecutiveFailures: -1}, share{1, 99}, []share{{1, 99}, {1, 99}}, breaker.Closed},
		{"alone", breaker.Config{ConsecutiveFailures: -1}, share{1, 99}, nil, breaker.Closed},
		{"one peer", breaker.Config{}, share{15, 5}, []share{{20, 0}}, breaker.Open},
		{"peers that were never called", breaker.Config{ConsecutiveFailures: -1}, share{1, 99}, []share{{0, 0}, {0, 0}}, breaker.Closed},
		{"peers that were hardly called", breaker.Config{ConsecutiveFailures: -1}, share{1, 99}, []share{{4, 0}, {4, 0}}, breaker.Closed},
		{"the median peer counts", breaker.Config{}, share{15, 5}, []share{{20, 0}, {10, 10}, {20, 0}}, breaker.Open},
		{"a large fleet", breaker.Config{}, share{15, 5}, make([]share, 40), breaker.Open},
	} {
		for _, v := range []balancer.Verdict{failure, suspect} {
			t.Run(fmt.Sprintf("%s, %v", tt.name, v), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, members := newFleet(t, tt.config, 1+len(tt.peers))
					defer closeAll(members)
					for i, p := range tt.peers {
						if len(tt.peers) > 10 {
							p = share{20, 0}
						}
						mixed(t, members[i+1], p.good, p.bad, suspect)
					}
					mixed(t, members[0], tt.own.good, tt.own.bad, v)
					if v == failure && tt.own.bad > 5*tt.own.good && tt.want == breaker.Closed && tt.config.ConsecutiveFailures != -1 {
						t.Fatal("the case trips the first rule")
					}
					wantState(t, members[0], tt.want)
				})
			})
		}
	}
	t.Run("answers that break off count", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{ConsecutiveFailures: -1}, 3)
		calls(t, members[1], 20, success)
		calls(t, members[2], 20, success)
		calls(t, members[0], 15, success)
		for range 4 {
			members[0].Ended(failure)
		}
		wantState(t, members[0], breaker.Closed)
		members[0].Ended(failure)
		wantState(t, members[0], breaker.Open)
	})
	t.Run("neutral and overload are no samples", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{ConsecutiveFailures: -1}, 2)
		calls(t, members[1], 20, success)
		calls(t, members[0], 100, neutral)
		calls(t, members[0], 100, overload)
		calls(t, members[0], 19, failure)
		wantState(t, members[0], breaker.Closed)
		calls(t, members[0], 1, failure)
		wantState(t, members[0], breaker.Open)
	})
	t.Run("the window rolls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{ConsecutiveFailures: -1}, 2)
			defer closeAll(members)
			calls(t, members[1], 20, success)
			calls(t, members[0], 19, failure)
			time.Sleep(11 * time.Second)
			calls(t, members[1], 20, success)
			calls(t, members[0], 19, failure)
			wantState(t, members[0], breaker.Closed)
			calls(t, members[0], 1, failure)
			wantState(t, members[0], breaker.Open)
		})
	})
	t.Run("an open peer is no measure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{ConsecutiveFailures: -1}, 2)
			defer closeAll(members)
			calls(t, members[1], 20, success)
			calls(t, members[0], 20, failure)
			wantState(t, members[0], breaker.Open)
			calls(t, members[1], 100, failure)
			wantState(t, members[1], breaker.Closed)
		})
	})
	t.Run("nor is a draining one", func(t *testing.T) {
		_, members := newFleet(t, breaker.Config{ConsecutiveFailures: -1}, 2)
		calls(t, members[1], 20, success)
		members[1].SetDraining(true)
		calls(t, members[0], 100, failure)
		wantState(t, members[0], breaker.Closed)
	})
	t.Run("a breaker that closed begins afresh", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, members := newFleet(t, breaker.Config{}, 2)
			defer closeAll(members)
			calls(t, members[1], 100, success)
			mixed(t, members[0], 50, 50, failure)
			openPeriod(t, members[0])
			calls(t, members[0], 1, success)
			mixed(t, members[0], 10, 9, failure)
			wantState(t, members[0], breaker.Closed)
		})
	})
}
