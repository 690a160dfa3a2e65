package balancer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// cooler is a Balancer inside a bubble.
func cooler(t *testing.T, n int) (*balancer.Balancer, *gates) {
	g := newGates(t)
	b := balancer.New(balancer.Config{Policy: balancer.RoundRobin(), Join: g.join})
	update(t, b, weighted(ones(n)...))
	settle()
	return b, g
}

func cool(t *testing.T, b *balancer.Balancer, id string, d time.Duration, v balancer.Verdict) {
	t.Helper()
	once(t, b, &balancer.Info{Endpoint: id}, balancer.Outcome{Verdict: v, Cool: d})
}

func TestCoolingWhenAsked(t *testing.T) {
	for _, tt := range []struct {
		name    string
		asked   time.Duration
		verdict balancer.Verdict
		want    time.Duration
	}{
		{"five seconds", 5 * time.Second, balancer.Overload, 5 * time.Second},
		{"an hour is half a minute", time.Hour, balancer.Overload, 30 * time.Second},
		{"of a failure", 5 * time.Second, balancer.Failure, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := cooler(t, 3)
				defer b.Close()
				cool(t, b, "a", tt.asked, tt.verdict)
				cool(t, b, "a", time.Second, tt.verdict) // no shorter for that
				a := node(t, b, "a")
				if a.Ready() || a.State() != balancer.Cooling {
					t.Fatalf("State is %q, want cooling", a.State())
				}
				for range 50 {
					if id := once(t, b, &balancer.Info{}, success); id == "a" {
						t.Fatal("a call went to the cooling node")
					}
				}
				time.Sleep(tt.want - time.Millisecond)
				if a.Ready() {
					t.Error("the node was back too early")
				}
				time.Sleep(5 * time.Millisecond)
				synctest.Wait()
				if !a.Ready() || a.State() != balancer.Ready {
					t.Errorf("State is %q after %v, want ready", a.State(), tt.want)
				}
			})
		})
	}
}

// drive makes calls at ten a second per node for a while; every node answers
// overload to bad(id, i) of its calls. It returns how often each cooled.
func drive(t *testing.T, b *balancer.Balancer, d time.Duration, bad func(id string, i int) bool) map[string]int {
	t.Helper()
	cooled, out, calls := map[string]int{}, map[string]bool{}, map[string]int{}
	for began := time.Now(); time.Since(began) < d; time.Sleep(100 * time.Millisecond) {
		for _, n := range b.Nodes() {
			if !n.Ready() {
				if !out[n.ID()] {
					cooled[n.ID()]++
				}
				out[n.ID()] = true
				continue
			}
			out[n.ID()] = false
			o := success
			if bad(n.ID(), calls[n.ID()]) {
				o = overload
			}
			calls[n.ID()]++
			once(t, b, &balancer.Info{Endpoint: n.ID()}, o)
		}
	}
	return cooled
}

func TestCoolingByComparison(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		bad  func(id string, i int) bool
		want map[string]bool // those that cool
	}{
		{"one of three at 50 %", 3, func(id string, i int) bool { return id == "b" && i%2 == 0 }, map[string]bool{"b": true}},
		{"all at 30 %", 3, func(_ string, i int) bool { return i%10 < 3 }, nil},
		{"all at 100 %", 3, func(string, int) bool { return true }, nil},
		{"one at 14 %", 3, func(id string, i int) bool { return id == "b" && i%7 == 3 }, nil},
		{"alone", 1, func(_ string, i int) bool { return i%2 == 0 }, nil},
		{"one of twenty at 50 %", 20, func(id string, i int) bool { return id == "b" && i%2 == 0 }, map[string]bool{"b": true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := cooler(t, tt.n)
				defer b.Close()
				cooled := drive(t, b, time.Minute, tt.bad)
				for _, n := range b.Nodes() {
					if got := cooled[n.ID()] > 0; got != tt.want[n.ID()] {
						t.Errorf("%q cooled %d times, want any: %v", n.ID(), cooled[n.ID()], tt.want[n.ID()])
					}
				}
			})
		})
	}
}

// A node that answers nothing but overload cools after five answers, each time
// anew, since each of them is a call to make again elsewhere. One that sometimes
// answers well is given the time to prove it.
func TestCoolingSoon(t *testing.T) {
	for _, tt := range []struct {
		name string
		good int // the answer that is good, counted from 0, or none
		want int // the answers after which it cools
	}{
		{"nothing but overload", -1, 5},
		{"one good answer", 1, 20},
		{"the fifth is good", 4, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := cooler(t, 3)
				defer b.Close()
				a := node(t, b, "a")
				for round := range 3 {
					got := 0
					for ; a.Ready() && got < 100; got++ {
						o := overload
						if got == tt.good {
							o = success
						}
						once(t, b, &balancer.Info{Endpoint: "a"}, o)
					}
					if got != tt.want {
						t.Errorf("round %d: cools after %d answers, want %d", round, got, tt.want)
					}
					for !a.Ready() {
						time.Sleep(10 * time.Millisecond)
						synctest.Wait()
					}
				}
			})
		})
	}
}

// 1 s, doubling to 10 s, and from the beginning again after 20 good seconds.
func TestCoolingDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := cooler(t, 3)
		defer b.Close()
		a := node(t, b, "a")
		exile := func() time.Duration {
			t.Helper()
			for range 30 {
				for _, id := range []string{"b", "c"} {
					once(t, b, &balancer.Info{Endpoint: id}, success)
				}
			}
			for i := 0; a.Ready(); i++ {
				if i > 100 {
					t.Fatal("100 answers of overload do not cool the node")
				}
				once(t, b, &balancer.Info{Endpoint: "a"}, overload)
			}
			began := time.Now()
			for !a.Ready() {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			return time.Since(began).Round(100 * time.Millisecond)
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			if got := exile(); got != want*time.Second {
				t.Errorf("cooling %d lasted %v, want %v", i+1, got, want*time.Second)
			}
		}
		time.Sleep(21 * time.Second)
		if got := exile(); got != time.Second {
			t.Errorf("after 21 good seconds a cooling lasted %v, want 1s", got)
		}
	})
}

func TestPanic(t *testing.T) {
	for _, tt := range []struct {
		name    string
		n, cool int
		panics  bool
		ready   int
	}{
		{"one of one", 1, 1, true, 1},
		{"one of two", 2, 1, false, 1},
		{"two of four", 4, 2, false, 2},
		{"three of four", 4, 3, true, 4},
		{"all of four", 4, 4, true, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := cooler(t, tt.n)
				defer b.Close()
				for i := range tt.cool {
					cool(t, b, string(rune('a'+i)), 5*time.Second, balancer.Overload)
					// Health never leaves a call without an endpoint, not for a moment.
					for range 10 {
						once(t, b, &balancer.Info{}, success)
						info := &balancer.Info{}
						for range tt.n + 1 {
							l := pick(t, b, info)
							info.Avoid(l.Node())
							l.Release()
						}
					}
				}
				time.Sleep(100 * time.Millisecond)
				if ready, total := b.Ready(); b.Panicking() != tt.panics || ready != tt.ready || total != tt.n {
					t.Errorf("panicking %v with %d of %d ready, want %v with %d of %d", b.Panicking(), ready, total, tt.panics, tt.ready, tt.n)
				}
				settle()
				time.Sleep(5 * time.Second)
				if ready, _ := b.Ready(); b.Panicking() || ready != tt.n {
					t.Errorf("panicking %v with %d ready after all is over", b.Panicking(), ready)
				}
			})
		})
	}
}

// Gates are law and health is advice: where all nodes are out, some by their
// gates and some by health, the latter are called.
func TestHealthYieldsWhenGatesRefuseTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := cooler(t, 2)
		defer b.Close()
		g.at("a").set(balancer.Refusing)
		cool(t, b, "b", 5*time.Second, balancer.Overload)
		for range 10 {
			if id := once(t, b, &balancer.Info{}, success); id != "b" {
				t.Fatalf("a call went to %q", id)
			}
			time.Sleep(10 * time.Millisecond)
		}
		// In panic, a node whose gate refuses is still no candidate.
		if node(t, b, "a").Ready() || !node(t, b, "b").Ready() {
			t.Error("ready is not b alone")
		}
		// A half-open one is probed although it cools.
		g.at("b").set(balancer.Probing)
		settle()
		if l := pick(t, b, &balancer.Info{}); !l.Probe() {
			t.Error("the half-open node was not probed")
		} else {
			l.Release()
		}
	})
}

func TestHalfOpenAndCoolingIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g := cooler(t, 3)
		defer b.Close()
		cool(t, b, "a", 5*time.Second, balancer.Overload)
		g.at("a").set(balancer.Probing)
		settle()
		if l := pick(t, b, &balancer.Info{Retryable: true}); l.Probe() {
			t.Error("a cooling node was probed while others are ready")
		} else {
			l.Release()
		}
		time.Sleep(4 * time.Second)
		if l := pick(t, b, &balancer.Info{Retryable: true}); !l.Probe() {
			t.Error("the node was not probed after it cooled")
		} else {
			l.Release()
		}
	})
}
