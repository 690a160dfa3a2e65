package balancer_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
)

// plainGate has no state to look at; it refuses when it is told to.
type plainGate struct{ g *strictGate }

func (p plainGate) Allow() (any, error)                { return p.g.Allow() }
func (p plainGate) Done(token any, o balancer.Outcome) { p.g.Done(token, o) }

// timedGate is told the time.
type timedGate struct{ *strictGate }

func (g timedGate) Done(any, balancer.Outcome) {
	g.t.Error("a gate that is told the time was told without")
}

func (g timedGate) TimedDone(token any, v balancer.Verdict, now monotime.Time) {
	if age := monotime.Now().Sub(now); now == 0 || age < 0 || age > time.Minute {
		g.t.Errorf("it was told a time of %v ago", age)
	}
	g.strictGate.Done(token, balancer.Outcome{Verdict: v})
}

func TestEveryAdmissionIsAnsweredOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		finish func(l *balancer.Lease)
		want   [5]int64 // answers by verdict
		ended  [5]int64
	}{
		{"reported and released", func(l *balancer.Lease) { l.Report(success); l.Release() }, [5]int64{1: 1}, [5]int64{1: 1}},
		{"failed", func(l *balancer.Lease) { l.Report(failure); l.Release() }, [5]int64{2: 1}, [5]int64{}},
		{"reported twice", func(l *balancer.Lease) { l.Report(success); l.Report(success); l.Release() }, [5]int64{1: 1}, [5]int64{1: 1}},
		{"broke off", func(l *balancer.Lease) { l.Report(success); l.Report(failure); l.Report(failure); l.Release() }, [5]int64{1: 1}, [5]int64{2: 1}},
		{"cancelled after the verdict", func(l *balancer.Lease) { l.Report(success); l.Report(balancer.Outcome{}); l.Release() }, [5]int64{1: 1}, [5]int64{1: 1}},
		{"failed, then broke off", func(l *balancer.Lease) { l.Report(failure); l.Report(failure); l.Release() }, [5]int64{2: 1}, [5]int64{}},
		{"never reported", func(l *balancer.Lease) { l.Release() }, [5]int64{0: 1}, [5]int64{}},
		{"released twice", func(l *balancer.Lease) { l.Release(); l.Release() }, [5]int64{0: 1}, [5]int64{}},
		{"reported after release", func(l *balancer.Lease) { l.Release(); l.Report(failure) }, [5]int64{0: 1}, [5]int64{}},
		{"suspect", func(l *balancer.Lease) { l.Report(balancer.Outcome{Verdict: balancer.Suspect}); l.Release() }, [5]int64{4: 1}, [5]int64{}},
	} {
		test := func(t *testing.T, all []*strictGate, gates []balancer.Gate) {
			b := start(t, balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) { return nil, gates }}, weighted(1))
			l := pick(t, b, &balancer.Info{})
			n := l.Node()
			tt.finish(&l)
			if l.Node() != nil || n.InFlight() != 0 {
				t.Errorf("after Release: node %v, %d in flight", l.Node(), n.InFlight())
			}
			for i, g := range all {
				var done, ended [5]int64
				for v := range done {
					done[v], ended[v] = g.done[v].Load(), g.ended[v].Load()
				}
				if done != tt.want || ended != tt.ended {
					t.Errorf("gate %d: answers %v and ends %v by verdict, want %v and %v", i, done, ended, tt.want, tt.ended)
				}
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t)
			test(t, []*strictGate{g}, []balancer.Gate{g})
		})
		t.Run(tt.name+", told the time", func(t *testing.T) {
			g := newGate(t)
			test(t, []*strictGate{g}, []balancer.Gate{timedGate{g}})
		})
		t.Run(tt.name+", three gates", func(t *testing.T) {
			all := []*strictGate{newGate(t), newGate(t), newGate(t)}
			test(t, all, []balancer.Gate{all[0], timedGate{all[1]}, all[2]})
		})
	}
}

func TestARefusedGateFreesThoseBeforeIt(t *testing.T) {
	first, second, third := newGate(t), newGate(t), newGate(t)
	b := start(t, balancer.Config{Join: func(n *balancer.Node) (any, []balancer.Gate) {
		if n.ID() == "a" {
			return nil, []balancer.Gate{timedGate{first}, plainGate{second}, third}
		}
		return nil, nil
	}}, weighted(1, 1))
	full := error(gateError("gate: full"))
	third.refuse.Store(&full)
	for range 200 {
		if id := once(t, b, &balancer.Info{}, success); id != "b" {
			t.Fatalf("a call went to %q", id)
		}
	}
	if first.done[balancer.Neutral].Load() == 0 || first.done[balancer.Neutral].Load() != third.refused.Load() || second.done[balancer.Neutral].Load() != third.refused.Load() {
		t.Errorf("the third gate refused %d times; the first was freed %d times, the second %d", third.refused.Load(),
			first.done[balancer.Neutral].Load(), second.done[balancer.Neutral].Load())
	}
}

func TestAllRejected(t *testing.T) {
	full := error(gateError("gate: full"))
	t.Run("by the states of gates", func(t *testing.T) {
		g := newGates(t)
		b := start(t, balancer.Config{Join: g.join}, weighted(1, 1))
		g.at("a").set(balancer.Refusing)
		g.at("b").set(balancer.Refusing)
		for _, retryable := range []bool{false, true} {
			_, err := b.Pick(&balancer.Info{Retryable: retryable})
			if !errors.Is(err, balancer.ErrAllRejected) || !errors.Is(err, errClosed) {
				t.Errorf("error is %v, want ErrAllRejected and the gate's reason", err)
			}
		}
	})
	t.Run("by gates that have no state", func(t *testing.T) {
		gate := newGate(t)
		gate.refuse.Store(&full)
		b := start(t, balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) { return nil, []balancer.Gate{plainGate{gate}} }}, weighted(1, 1, 1))
		_, err := b.Pick(&balancer.Info{})
		var reason gateError
		if !errors.Is(err, balancer.ErrAllRejected) || !errors.Is(err, full) || !errors.As(err, &reason) {
			t.Errorf("error is %v, want ErrAllRejected and the gate's reason", err)
		}
		if got := gate.allowed.Load(); got != 3 {
			t.Errorf("the three gates were asked %d times, want once each", got)
		}
	})
	t.Run("each of many is asked once", func(t *testing.T) {
		for _, policy := range allPolicies() {
			gate := newGate(t)
			gate.refuse.Store(&full)
			b := start(t, balancer.Config{Policy: policy, Join: func(*balancer.Node) (any, []balancer.Gate) {
				return nil, []balancer.Gate{plainGate{gate}}
			}}, fleet(2000, even))
			info := user("192.0.2.1")
			for range 10 {
				before := gate.allowed.Load()
				if _, err := b.Pick(info); !errors.Is(err, full) {
					t.Fatalf("%s: error is %v, want the gate's reason", policy.Name(), err)
				}
				if asked := gate.allowed.Load() - before; asked != 2000 {
					t.Errorf("%s: %d gates were asked, want each of 2000 once", policy.Name(), asked)
				}
			}
		}
	})
	t.Run("all but one of many", func(t *testing.T) {
		for _, policy := range allPolicies() {
			gate := newGate(t)
			gate.refuse.Store(&full)
			b := start(t, balancer.Config{Policy: policy, Join: func(n *balancer.Node) (any, []balancer.Gate) {
				if n.ID() == "e00123" {
					return nil, nil
				}
				return nil, []balancer.Gate{plainGate{gate}}
			}}, fleet(300, even))
			if id := once(t, b, user("192.0.2.1"), success); id != "e00123" {
				t.Errorf("%s: a call went to %q", policy.Name(), id)
			}
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		b := start(t, balancer.Config{}, nil)
		if _, err := b.Pick(&balancer.Info{}); !errors.Is(err, balancer.ErrNoEndpoints) || errors.Is(err, balancer.ErrAllRejected) {
			t.Errorf("error is %v, want ErrNoEndpoints", err)
		}
	})
}

func TestHastenOfSeveralGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newGate(t), newGate(t)
		b := balancer.New(balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) {
			return nil, []balancer.Gate{plainGate{newGate(t)}, first, second}
		}})
		defer b.Close()
		update(t, b, weighted(1))
		settle()
		first.set(balancer.Refusing)
		settle()
		if first.hasty.Load() == 0 || second.hasty.Load() == 0 {
			t.Errorf("Hasten was called %d and %d times, want at least once", first.hasty.Load(), second.hasty.Load())
		}
	})
}

func TestHastenWhenNobodyIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		b := balancer.New(balancer.Config{Join: g.join})
		defer b.Close()
		update(t, b, weighted(1, 1))
		settle()
		// Hasten runs with no lock held: it may change the state at once.
		a := g.at("a")
		a.onHaste = func() {
			if a.hasty.Load() == 1 {
				a.set(balancer.Probing)
			}
		}
		a.set(balancer.Refusing)
		settle()
		if a.hasty.Load() != 0 {
			t.Error("Hasten was called although b is ready")
		}
		g.at("b").set(balancer.Refusing)
		settle()
		if a.hasty.Load() == 0 || g.at("b").hasty.Load() == 0 {
			t.Errorf("Hasten was called %d and %d times, want at least once", a.hasty.Load(), g.at("b").hasty.Load())
		}
		if l := pick(t, b, &balancer.Info{}); !l.Probe() || l.Node().ID() != "a" {
			t.Errorf("picked %q, want a as a probe", l.Node().ID())
		} else {
			l.Release()
		}
	})
}

func TestHalfOpen(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGates(t)
				b := balancer.New(balancer.Config{Policy: policy, Join: g.join})
				defer b.Close()
				update(t, b, weighted(1, 1, 1))
				settle()
				g.at("a").set(balancer.Refusing)
				settle()
				g.at("a").set(balancer.Probing)
				settle()
				if s := node(t, b, "a").State(); s != balancer.HalfOpen {
					t.Fatalf("State is %q, want half-open", s)
				}
				call := func(retryable bool) balancer.Lease {
					info := user("192.0.2.1")
					info.Retryable = retryable
					return pick(t, b, info)
				}
				for range 100 {
					l := call(false)
					if l.Node().ID() == "a" || l.Probe() {
						t.Fatal("a call that cannot be retried went to the half-open node")
					}
					l.Report(success)
					l.Release()
				}
				probe := call(true)
				if probe.Node().ID() != "a" || !probe.Probe() || probe.Reason() != "probe" {
					t.Fatalf("a call that can be retried went to %q, want a as a probe", probe.Node().ID())
				}
				for range 100 {
					l := call(true)
					if l.Node().ID() == "a" || l.Probe() {
						t.Fatal("a second call went to the half-open node while the probe is under way")
					}
					l.Release()
				}
				// The call whose probe failed goes elsewhere, a neutral one is offered again.
				probe.Release()
				again := call(true)
				if again.Node().ID() != "a" {
					t.Errorf("after a neutral probe the next call went to %q, want a", again.Node().ID())
				}
				again.Report(failure)
				info := user("192.0.2.1")
				info.Retryable = true
				info.Avoid(again.Node())
				again.Release()
				l := pick(t, b, info)
				if l.Node().ID() == "a" {
					t.Error("the retry of a failed probe went to the half-open node")
				}
				l.Release()

				// After ten seconds any call will do.
				time.Sleep(5 * time.Second)
				if l := call(false); l.Probe() {
					t.Error("any call is a probe too early")
				} else {
					l.Release()
				}
				time.Sleep(5 * time.Second)
				late := call(false)
				if late.Node().ID() != "a" || !late.Probe() {
					t.Errorf("after ten seconds a call went to %q, want a as a probe", late.Node().ID())
				}
				late.Report(success)
				late.Release()
				g.at("a").set(balancer.Admitting)
				settle()
				if !node(t, b, "a").Ready() {
					t.Error("the proven node is not ready")
				}

				// When no other is ready, any call is a probe at once.
				g.at("b").set(balancer.Refusing)
				g.at("c").set(balancer.Refusing)
				g.at("a").set(balancer.Probing)
				settle()
				only := call(false)
				if only.Node().ID() != "a" || !only.Probe() {
					t.Errorf("nobody else is ready, and a call went to %q", only.Node().ID())
				}
				if _, err := b.Pick(user("192.0.2.1")); !errors.Is(err, balancer.ErrAllRejected) || !errors.Is(err, errClosed) {
					t.Errorf("the probe is under way: error is %v, want ErrAllRejected and the gate's reason", err)
				}
				only.Release()
			})
		})
	}
}

// Gates flap, endpoints come and go, calls are cancelled: each admission is
// answered once all the same. newGate checks.
func TestAnswersUnderConcurrency(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			g := newGates(t)
			b := start(t, balancer.Config{Policy: policy, Join: func(n *balancer.Node) (any, []balancer.Gate) {
				data, first := g.join(n)
				return data, append(first, newGate(t))
			}}, fleet(20, uneven))
			nodes := b.Nodes()
			var wg sync.WaitGroup
			stop := make(chan struct{})
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					g.at(fleet(20, even)[i%10].ID).set(balancer.GateState(i % 3))
				}
			})
			wg.Go(func() {
				v := b.View(func(n *balancer.Node) bool { return n.Weight() > 1 })
				defer v.Close()
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					_ = b.Update(fleet(10+i%11, uneven))
					v.Rebuild()
					if l, err := v.Pick(&balancer.Info{}); err == nil {
						l.Release()
					}
				}
			})
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					for i := range 1500 {
						info := user("192.0.2.1")
						info.Retryable = i%2 == 0
						for range 2 {
							l, err := b.Pick(info)
							if err != nil {
								continue
							}
							info.Avoid(l.Node())
							o := balancer.Outcome{Verdict: balancer.Verdict(rand.IntN(5))}
							if rand.IntN(4) > 0 {
								l.Report(o)
							}
							if rand.IntN(4) == 0 {
								l.Report(failure)
							}
							l.Release()
						}
					}
				})
			}
			callers.Wait()
			close(stop)
			wg.Wait()
			for _, n := range nodes {
				if n.InFlight() != 0 {
					t.Errorf("%q has %d calls in flight, want none", n.ID(), n.InFlight())
				}
			}
		})
	}
}

// lessons is a policy whose pickers observe.
type lessons struct {
	balancer.Policy
	mu   sync.Mutex
	seen []string // guarded by mu
}

type observer struct {
	balancer.Picker
	l *lessons
}

func (l *lessons) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return observer{l.Policy.NewPicker(nodes, nil), l}
}

func (o observer) Observe(n *balancer.Node, out balancer.Outcome, latency time.Duration) {
	o.l.mu.Lock()
	defer o.l.mu.Unlock()
	o.l.seen = append(o.l.seen, n.ID()+" "+out.Verdict.String()+" "+latency.String())
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &lessons{Policy: balancer.RoundRobin()}
		b := balancer.New(balancer.Config{Policy: p})
		defer b.Close()
		update(t, b, weighted(1))
		l := pick(t, b, &balancer.Info{})
		time.Sleep(30 * time.Millisecond)
		l.Report(success)
		time.Sleep(time.Second)
		l.Report(failure)
		l.Release()
		l = pick(t, b, &balancer.Info{})
		time.Sleep(time.Millisecond)
		l.Release()
		if diff := cmp.Diff([]string{"a success 30ms", "a neutral 1ms"}, p.seen); diff != "" {
			t.Errorf("observed (-want +got):\n%s", diff)
		}
	})
}
