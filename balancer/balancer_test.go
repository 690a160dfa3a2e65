package balancer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func ids(nodes []*balancer.Node) []string {
	out := []string{}
	for _, n := range nodes {
		out = append(out, n.ID())
	}
	return out
}

func TestStateSurvivesUpdates(t *testing.T) {
	g := newGates(t)
	b := start(t, balancer.Config{Policy: balancer.RoundRobin(), Join: g.join}, weighted(1, 1, 1))
	a := node(t, b, "a")
	gate := g.at("a")
	var held []balancer.Lease
	for range 6 {
		held = append(held, pick(t, b, &balancer.Info{}))
	}
	endpoints := weighted(7, 1, 1)
	endpoints[0].Zone = "z"
	endpoints[0].Metadata = map[string]string{"version": "2"}
	for range 3 {
		update(t, b, endpoints)
	}
	update(t, b, append(endpoints, discovery.Endpoint{Addr: "10.0.0.9:80"}))

	if got := node(t, b, "a"); got != a {
		t.Fatal("an update that still names the endpoint made another node of it")
	}
	if g.at("a") != gate {
		t.Error("an update joined the node again")
	}
	if a.InFlight() != 2 || a.Picks() != 2 || a.Data() != "a" {
		t.Errorf("in flight %d, picks %d, data %v: want 2, 2, a", a.InFlight(), a.Picks(), a.Data())
	}
	if a.Weight() != 7 || a.Endpoint().Zone != "z" || a.Endpoint().Metadata["version"] != "2" || a.Addr() != "10.0.0.1:80" {
		t.Errorf("the endpoint is %+v, want the new weight, zone and metadata", a.Endpoint())
	}
	for i := range held {
		held[i].Release()
	}
	if a.InFlight() != 0 {
		t.Errorf("in flight %d after all were released", a.InFlight())
	}
}

func TestAnotherAddressIsAnotherNode(t *testing.T) {
	var joined, left []string
	b := start(t, balancer.Config{
		Join: func(n *balancer.Node) (any, []balancer.Gate) {
			joined = append(joined, n.ID()+n.Addr())
			return nil, nil
		},
		Leave: func(n *balancer.Node) { left = append(left, n.ID()+n.Addr()) },
	}, weighted(1))
	old := node(t, b, "a")
	endpoints := weighted(1)
	endpoints[0].Addr = "10.9.9.9:80"
	update(t, b, endpoints)
	if node(t, b, "a") == old {
		t.Error("the node at the new address is the old one")
	}
	// At once, though the update before was just now: nobody else is left.
	l := pick(t, b, &balancer.Info{})
	if l.Node() == old {
		t.Error("a call went to the old address")
	}
	l.Release()
	if diff := cmp.Diff([]string{"a10.0.0.1:80", "a10.9.9.9:80"}, joined); diff != "" {
		t.Errorf("joined (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a10.0.0.1:80"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestUpdateLeavesOutWhatIsMalformed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		give  []discovery.Endpoint
		want  []string
		wrong []string // in the error's text
	}{
		{"nothing wrong", weighted(1, 2), []string{"a", "b"}, nil},
		{"no address", []discovery.Endpoint{{ID: "x"}, {Addr: "h:1"}}, []string{"h:1"}, []string{`Addr is ""`}},
		{"empty", []discovery.Endpoint{{}, {Addr: "h:1"}}, []string{"h:1"}, []string{`Addr is ""`}},
		{"bad port and bad weight", []discovery.Endpoint{{Addr: "h:0"}, {Addr: "h:1"}, {Addr: "h:2", Weight: -1}}, []string{"h:1"}, []string{"h:0", "h:2", "-1"}},
		{"twice the same", []discovery.Endpoint{{Addr: "h:1"}, {ID: "h:1", Addr: "h:1", Weight: 1}}, []string{"h:1"}, nil},
		{"one ID at two addresses", []discovery.Endpoint{{ID: "x", Addr: "h:1"}, {ID: "x", Addr: "h:2"}, {ID: "y", Addr: "h:3"}}, []string{"x", "y"}, []string{`"x"`, "h:1", "h:2"}},
		{"one ID with two weights", []discovery.Endpoint{{Addr: "h:1", Weight: 2}, {Addr: "h:1", Weight: 3}}, []string{"h:1"}, []string{"h:1", "twice"}},
		{"malformed, then well", []discovery.Endpoint{{ID: "x", Addr: "nonsense"}, {ID: "x", Addr: "h:2"}}, []string{"x"}, []string{"nonsense"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, before := range map[string][]discovery.Endpoint{
				"first":            nil,
				"over the same":    tt.give,
				"over another one": {{ID: "x", Addr: "h:7"}, {ID: "h:1", Addr: "h:8"}},
			} {
				t.Run(name, func(t *testing.T) {
					b := start(t, balancer.Config{}, nil)
					if before != nil {
						_ = b.Update(before)
					}
					err := b.Update(tt.give)
					if diff := cmp.Diff(tt.want, ids(b.Nodes())); diff != "" {
						t.Errorf("members (-want +got):\n%s", diff)
					}
					if (err != nil) != (len(tt.wrong) > 0) {
						t.Fatalf("error is %v, want one: %v", err, len(tt.wrong) > 0)
					}
					for _, w := range tt.wrong {
						if !strings.Contains(err.Error(), w) {
							t.Errorf("error %q does not name %q", err, w)
						}
					}
				})
			}
		})
	}
}

func TestDrain(t *testing.T) {
	endpoints := weighted(1, 1)
	b := start(t, balancer.Config{}, endpoints)
	endpoints = weighted(1, 1)
	endpoints[0].Drain = true
	update(t, b, endpoints)
	for range 200 {
		if id := once(t, b, &balancer.Info{}, success); id == "a" {
			t.Fatal("a call went to a draining endpoint")
		}
	}
	if got := node(t, b, "a").State(); got != balancer.Draining {
		t.Errorf("State is %q, want draining", got)
	}
	endpoints = weighted(1, 1)
	endpoints[0].Drain, endpoints[1].Drain = true, true
	update(t, b, endpoints)
	if _, err := b.Pick(&balancer.Info{}); !errors.Is(err, balancer.ErrNoEndpoints) {
		t.Errorf("all drain: error is %v, want ErrNoEndpoints", err)
	}
}

func TestLeaveIsCalledAgainWhenTheLastCallEnds(t *testing.T) {
	type leaving struct {
		id       string
		inFlight int
	}
	var left []leaving
	b := start(t, balancer.Config{Leave: func(n *balancer.Node) { left = append(left, leaving{n.ID(), n.InFlight()}) }}, weighted(1))
	first, second := pick(t, b, &balancer.Info{}), pick(t, b, &balancer.Info{})
	update(t, b, []discovery.Endpoint{{ID: "z", Addr: "z:1"}})
	if diff := cmp.Diff([]leaving{{"a", 2}}, left, cmp.AllowUnexported(leaving{})); diff != "" {
		t.Fatalf("at removal (-want +got):\n%s", diff)
	}
	first.Report(success)
	first.Release()
	first.Release()
	if len(left) != 1 {
		t.Fatal("Leave was called while a call is in flight")
	}
	second.Release()
	if diff := cmp.Diff([]leaving{{"a", 2}, {"a", 0}}, left, cmp.AllowUnexported(leaving{})); diff != "" {
		t.Errorf("at the end (-want +got):\n%s", diff)
	}
}

// No call goes to an endpoint that left, also while the picker is yet to be
// built anew.
func TestNoCallToWhatLeft(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := balancer.New(balancer.Config{Policy: policy})
				defer b.Close()
				update(t, b, fleet(20, even)) // first change
				update(t, b, fleet(19, even)) // merged
				update(t, b, fleet(5, even))  // merged
				for range 300 {
					if id := once(t, b, user("192.0.2.1"), success); id > "e00004" {
						t.Fatalf("a call went to %q, which left", id)
					}
				}
				update(t, b, nil)
				if _, err := b.Pick(&balancer.Info{}); !errors.Is(err, balancer.ErrNoEndpoints) {
					t.Errorf("nobody is left: error is %v, want ErrNoEndpoints", err)
				}
				if _, err := b.Pick(&balancer.Info{Endpoint: "e00000"}); !errors.Is(err, balancer.ErrNoEndpoints) {
					t.Errorf("nobody is left: error of a pinned call is %v, want ErrNoEndpoints", err)
				}
			})
		})
	}
}

// Nor to one that is not ready any more, while the picker is yet to be built anew, and
// none is counted there.
func TestNoCallToWhatCools(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := balancer.New(balancer.Config{Policy: policy})
				defer b.Close()
				update(t, b, fleet(100, even)) // too many for a call to build
				settle()
				l := pick(t, b, user("192.0.2.1"))
				n := l.Node()
				l.Report(balancer.Outcome{Verdict: balancer.Success, Cool: time.Second})
				l.Release()
				for range 1000 {
					if id := once(t, b, user("192.0.2.1"), success); id == n.ID() {
						t.Fatalf("a call went to %q, which cools", id)
					}
				}
				if n.Picks() != 1 || n.InFlight() != 0 {
					t.Errorf("%d picks and %d in flight, want 1 and none", n.Picks(), n.InFlight())
				}
			})
		})
	}
}

func allPolicies() []balancer.Policy {
	return []balancer.Policy{
		balancer.RoundRobin(), balancer.WeightedRoundRobin(), balancer.Random(), balancer.P2C(), balancer.PeakEWMA(),
		balancer.LeastConn(), balancer.IPHash(), balancer.IPHash(balancer.NginxHash),
	}
}

// countingPolicy counts the pickers it makes.
type countingPolicy struct {
	balancer.Policy
	made  atomic.Int64
	ready atomic.Int64 // nodes that the last picker was made for
}

func (p *countingPolicy) NewPicker(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
	p.made.Add(1)
	ready := int64(0)
	for _, n := range nodes {
		if n.Ready() {
			ready++
		}
	}
	p.ready.Store(ready)
	return p.Policy.NewPicker(nodes, prev)
}

func TestRebuildsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		p := &countingPolicy{Policy: balancer.RoundRobin()}
		b := balancer.New(balancer.Config{Policy: p, Join: g.join})
		defer b.Close()
		update(t, b, fleet(40, even))
		settle()
		before := p.made.Load()

		g.at("e00000").set(balancer.Refusing)
		if got := p.made.Load() - before; got != 1 || p.ready.Load() != 39 {
			t.Fatalf("the first change: %d pickers, the last over %d nodes; want 1 over 39, at once", got, p.ready.Load())
		}
		for i := range 20 {
			g.at(fmt.Sprintf("e%05d", i)).set(balancer.Refusing)
		}
		if got := p.made.Load() - before; got != 1 {
			t.Errorf("20 changes after it made %d pickers at once, want none", got-1)
		}
		settle()
		if got := p.made.Load() - before; got != 2 || p.ready.Load() != 20 {
			t.Errorf("%d pickers, the last over %d nodes; want 2, the last over 20", got, p.ready.Load())
		}

		// A second of flapping, every 100 µs.
		before = p.made.Load()
		began := time.Now()
		for i := 0; time.Since(began) < time.Second; i++ {
			g.at("e00030").set(balancer.GateState(2 * (i % 2)))
			time.Sleep(100 * time.Microsecond)
		}
		if got := p.made.Load() - before; got > 501 {
			t.Errorf("10,000 changes in a second made %d pickers, want at most 500", got)
		}
	})
}

// While nobody is ready, the first that is must not wait for the pause's end.
func TestTheFirstReadyNodeCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		p := &countingPolicy{Policy: balancer.RoundRobin()}
		b := balancer.New(balancer.Config{Policy: p, Join: g.join})
		defer b.Close()
		update(t, b, weighted(1, 1))
		settle()
		g.at("a").set(balancer.Refusing)
		g.at("b").set(balancer.Refusing)
		time.Sleep(2 * time.Millisecond) // the second is merged
		synctest.Wait()
		g.at("b").set(balancer.Admitting)
		if id := once(t, b, &balancer.Info{}, success); id != "b" {
			t.Errorf("picked %q, want b", id)
		}
	})
}

// A table that takes long to build is built on no call's goroutine.
func TestLargeFleetsAreBuiltOffTheCallsPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		p := &countingPolicy{Policy: balancer.WeightedRoundRobin()}
		b := balancer.New(balancer.Config{Policy: p, Join: g.join})
		defer b.Close()
		update(t, b, fleet(1000, even))
		settle()
		before := p.made.Load()
		g.at("e00007").set(balancer.Refusing)
		if got := p.made.Load() - before; got != 0 {
			t.Errorf("%d pickers were made while the gate waited", got)
		}
		synctest.Wait()
		if got := p.made.Load() - before; got != 1 {
			t.Errorf("%d pickers were made, want 1", got)
		}
	})
}

func TestAGateThatClosesMeanwhileIsNotCalled(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGates(t)
				b := balancer.New(balancer.Config{Policy: policy, Join: g.join})
				defer b.Close()
				update(t, b, weighted(1, 1, 1, 1))
				settle()
				g.at("a").set(balancer.Refusing) // at once
				g.at("b").set(balancer.Refusing) // merged
				g.at("c").set(balancer.Probing)  // merged, and a call that cannot be retried is no probe
				for range 100 {
					if id := once(t, b, user("192.0.2.1"), success); id != "d" {
						t.Fatalf("a call went to %q", id)
					}
				}
			})
		})
	}
}

func TestView(t *testing.T) {
	var mu sync.Mutex
	hidden := map[string]bool{"b": true}
	g := newGates(t)
	b := start(t, balancer.Config{Policy: balancer.RoundRobin(), Join: g.join}, weighted(1, 1, 1))
	v := b.View(func(n *balancer.Node) bool {
		mu.Lock()
		defer mu.Unlock()
		return !hidden[n.ID()]
	})
	reach := func(p interface {
		Pick(*balancer.Info) (balancer.Lease, error)
	}) []string {
		seen := map[string]bool{}
		for range 30 {
			l := pick(t, p, &balancer.Info{})
			seen[l.Node().ID()] = true
			l.Report(success)
			l.Release()
		}
		out := []string{}
		for id := range seen {
			out = append(out, id)
		}
		slices.Sort(out)
		return out
	}
	expect := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	rebuild := func() {
		v.Rebuild()
		deadline := time.Now().Add(5 * time.Second)
		for want := "c"; time.Now().Before(deadline); {
			if got := reach(v); slices.Contains(got, "b") && got[len(got)-1] == want {
				return
			}
		}
		t.Fatal("Rebuild had no effect")
	}
	expect("the view", reach(v), "a", "c")
	expect("the whole", reach(b), "a", "b", "c")
	l := pick(t, v, &balancer.Info{})
	if l.Node().InFlight() != 1 || node(t, b, l.Node().ID()) != l.Node() {
		t.Error("the view counts on nodes of its own")
	}
	l.Release()
	mu.Lock()
	hidden = map[string]bool{"a": true}
	mu.Unlock()
	rebuild()
	expect("the view after Rebuild", reach(v), "b", "c")
	v.Close()
	v.Close()

	none := b.View(func(*balancer.Node) bool { return false })
	defer none.Close()
	if _, err := none.Pick(&balancer.Info{}); !errors.Is(err, balancer.ErrNoEndpoints) {
		t.Errorf("a view of nothing: error is %v, want ErrNoEndpoints", err)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left []string
		g := newGates(t)
		b := balancer.New(balancer.Config{Join: g.join, Leave: func(n *balancer.Node) { left = append(left, n.ID()) }})
		update(t, b, weighted(1, 1))
		held := pick(t, b, &balancer.Info{})
		cool := pick(t, b, &balancer.Info{Endpoint: "a"})
		cool.Report(balancer.Outcome{Verdict: balancer.Overload, Cool: time.Hour})
		cool.Release()
		b.Close()
		b.Close()
		if diff := cmp.Diff([]string{"a", "b"}, left); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if _, err := b.Pick(&balancer.Info{}); !errors.Is(err, balancer.ErrNoEndpoints) {
			t.Errorf("after Close: error is %v, want ErrNoEndpoints", err)
		}
		if err := b.Update(weighted(1)); err != nil || len(b.Nodes()) != 0 {
			t.Errorf("Update after Close: %v, %d nodes", err, len(b.Nodes()))
		}
		held.Report(balancer.Outcome{Verdict: balancer.Overload, Cool: time.Hour})
		held.Release()
		if len(left) != 3 {
			t.Errorf("left %v: want the node of the call in flight once more", left)
		}
		g.at("a").set(balancer.Refusing) // a gate that outlives its node
	})
}

func TestPinned(t *testing.T) {
	g := newGates(t)
	b := start(t, balancer.Config{Join: g.join}, weighted(1, 1, 1))
	for range 50 {
		info := &balancer.Info{Endpoint: "b"}
		info.Avoid(node(t, b, "b")) // also again
		if id := once(t, b, info, success); id != "b" {
			t.Fatalf("pinned to b, went to %q", id)
		}
	}
	if _, err := b.Pick(&balancer.Info{Endpoint: "nobody"}); !errors.Is(err, balancer.ErrNoEndpoints) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("error is %v, want ErrNoEndpoints that names the endpoint", err)
	}
	g.at("b").set(balancer.Refusing)
	_, err := b.Pick(&balancer.Info{Endpoint: "b"})
	if !errors.Is(err, balancer.ErrAllRejected) || !errors.Is(err, errClosed) {
		t.Errorf("error is %v, want ErrAllRejected and the gate's reason", err)
	}
	g.at("b").set(balancer.Probing)
	l := pick(t, b, &balancer.Info{Endpoint: "b"})
	defer l.Release()
	if !l.Probe() {
		t.Error("a call pinned to a half-open node is no probe")
	}
}

func TestAvoid(t *testing.T) {
	for _, policy := range allPolicies() {
		t.Run(policy.Name(), func(t *testing.T) {
			for _, n := range []int{1, 2, 5, 12, 40} {
				b := start(t, balancer.Config{Policy: policy}, fleet(n, uneven))
				info := user("192.0.2.1")
				seen := map[string]bool{}
				for range n {
					l := pick(t, b, info)
					if seen[l.Node().ID()] {
						t.Fatalf("n=%d: %q was picked again while others are ready", n, l.Node().ID())
					}
					seen[l.Node().ID()] = true
					if !b.Others(info) {
						t.Errorf("n=%d: Others is false although %d of them are left", n, n-len(seen)+1)
					}
					info.Avoid(l.Node())
					info.Avoid(l.Node())
					l.Release()
				}
				if b.Others(info) {
					t.Errorf("n=%d: Others is true although all are avoided", n)
				}
				// Now that there is no other: the same one again.
				l := pick(t, b, info)
				if l.Reason() != "only endpoint left" {
					t.Errorf("n=%d: Reason is %q", n, l.Reason())
				}
				l.Release()
			}
		})
	}
}
