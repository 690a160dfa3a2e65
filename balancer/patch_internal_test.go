package balancer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// moody is a gate in any state.
type moody struct {
	state   atomic.Int32
	changed func()
}

func (g *moody) Allow() (any, error)   { return nil, nil }
func (g *moody) Done(any, Outcome)     {}
func (g *moody) State() GateState      { return GateState(g.state.Load()) }
func (g *moody) Notify(changed func()) { g.changed = changed }
func (g *moody) becomes(s GateState)   { g.state.Store(int32(s)); g.changed() }
func moodOf(n *Node) *moody            { return n.gate.Gate.(*moody) }

func membersIn(p Picker) *members {
	switch p := p.(type) {
	case *roundRobinPicker:
		return &p.members
	case *leastConnPicker:
		return &p.members
	case *peakPicker:
		return &p.members
	case *p2cPicker:
		return &p.members
	}
	return nil
}

func seatsIn(p Picker) []seat {
	switch p := p.(type) {
	case *peakPicker:
		return p.seats
	case *p2cPicker:
		return p.seats
	}
	return nil
}

// Whatever changes of whichever nodes, what is built in alone comes to what a look at
// all nodes comes to.
func TestPatchesComeToTheSame(t *testing.T) {
	for _, policy := range []Policy{RoundRobin(), LeastConn(), P2C(), PeakEWMA()} {
		for _, weights := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, weights to %d", policy.Name(), weights), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { patchAtRandom(t, policy, weights) })
			})
		}
	}
}

func patchAtRandom(t *testing.T, policy Policy, weights int) {
	b := New(Config{Policy: policy, Join: func(*Node) (any, []Gate) { return nil, []Gate{&moody{}} }})
	defer b.Close()
	even := b.View(func(n *Node) bool { return len(n.id)%2 == 0 })
	fleet := make([]discovery.Endpoint, 30)
	for i := range fleet {
		fleet[i] = discovery.Endpoint{Addr: fmt.Sprintf("10.0.0.%d:80", i), Weight: 1 + rand.IntN(weights)}
	}
	if err := b.Update(fleet); err != nil {
		t.Fatal(err)
	}
	patched, flips := 0, 0
	for step := range 600 {
		for range 1 + rand.IntN(3) {
			n := b.Nodes()[rand.IntN(len(b.Nodes()))]
			switch rand.IntN(12) {
			case 0, 1, 2, 3:
				moodOf(n).becomes(Refusing)
			case 4, 5, 6:
				moodOf(n).becomes(Admitting)
			case 7:
				moodOf(n).becomes(Probing)
			case 8:
				n.Advise(ChecksFail, rand.IntN(2) == 0)
			case 9:
				n.cool(time.Now(), time.Second)
			case 10:
				if l, err := b.Pick(&Info{}); err == nil {
					l.Report(Outcome{Verdict: Success})
					l.Release()
				}
			case 11:
				if step%20 == 0 {
					i := rand.IntN(len(fleet))
					fleet[i].Drain = !fleet[i].Drain
					fleet[(i+1)%len(fleet)].Addr = fmt.Sprintf("10.%d.1.%d:80", 1+flips/250, flips%250)
					if err := b.Update(fleet); err != nil {
						t.Fatal(err)
					}
				}
			}
			flips++
		}
		if rand.IntN(4) == 0 {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
		}
		time.Sleep(1500 * time.Millisecond) // the longest pause between builds is shorter
		synctest.Wait()
		if b.patches > 0 {
			patched++
		}
		checkBuilt(t, b, b.main)
		checkBuilt(t, b, even)
		if t.Failed() {
			t.Fatalf("after step %d", step)
		}
	}
	if patched < 300 {
		t.Errorf("%d of 600 steps were built in alone, want most", patched)
	}
}

// checkBuilt holds what was built against what the nodes are like.
func checkBuilt(t *testing.T, b *Balancer, v *View) {
	t.Helper()
	now := time.Now()
	var want fleet
	well, clearNodes, heldBack := 0, 0, false
	for _, n := range b.nodes {
		if n.drain.Load() {
			continue
		}
		want.total++
		state := n.gateState()
		if state == Probing {
			want.probing++
		}
		if n.well(now) {
			well++
			if state == Admitting {
				clearNodes++
			}
		} else {
			heldBack = heldBack || state != Refusing
		}
	}
	want.panicking = 2*well < want.total || clearNodes == 0 && heldBack
	var ready, probing []*Node
	for _, n := range b.nodes {
		is := !n.barred() && (n.well(now) || want.panicking)
		if n.Ready() != is {
			t.Errorf("%s is ready: %v, want %v (%s)", n.id, n.Ready(), is, n.State())
		}
		if is {
			want.ready++
		}
		if v.filter != nil && !v.filter(n) {
			continue
		}
		switch {
		case is:
			ready = append(ready, n)
		case !n.drain.Load() && n.gateState() == Probing && (n.well(now) || want.panicking):
			probing = append(probing, n)
		}
	}
	f, st := b.fleet.Load(), v.state.Load()
	if f.ready != want.ready || f.total != want.total || f.probing != want.probing || f.panicking != want.panicking {
		t.Errorf("the fleet is %d ready of %d, %d probing, panic %v; want %d of %d, %d, %v",
			f.ready, f.total, f.probing, f.panicking, want.ready, want.total, want.probing, want.panicking)
	}
	if st.ready != len(ready) || !slices.Equal(st.probing, probing) {
		t.Errorf("the view has %d ready and %d probing, want %d and %d", st.ready, len(st.probing), len(ready), len(probing))
	}
	m := membersIn(st.picker)
	if !slices.Equal(m.nodes, ready) {
		t.Errorf("the picker has %d nodes, want the %d that are ready, in order", len(m.nodes), len(ready))
	}
	for i, w := range m.weights {
		if w != uint64(m.nodes[i].Weight()) {
			t.Errorf("node %d has weight %d in the picker, want %d", i, w, m.nodes[i].Weight())
		}
	}
	if m.weights != nil && len(m.weights) != len(m.nodes) {
		t.Errorf("%d weights of %d nodes", len(m.weights), len(m.nodes))
	}
	for i, s := range seatsIn(st.picker) {
		if s.node != m.nodes[i] || int(s.weight) != s.node.Weight() {
			t.Errorf("seat %d is %s's of weight %d, want %s's of %d", i, s.node.id, s.weight, m.nodes[i].id, m.nodes[i].Weight())
		}
	}
}

// A policy that is made of another decides itself what that one sees.
func TestPatchesLeaveOtherPoliciesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := New(Config{
			Policy: &around{P2C(), func() { asked++ }},
			Join:   func(*Node) (any, []Gate) { return nil, []Gate{&moody{}} },
		})
		defer b.Close()
		if err := b.Update([]discovery.Endpoint{{Addr: "a:1"}, {Addr: "b:1"}, {Addr: "c:1"}}); err != nil {
			t.Fatal(err)
		}
		before := asked
		moodOf(b.Nodes()[0]).becomes(Refusing)
		time.Sleep(time.Second)
		synctest.Wait()
		if asked != before+1 {
			t.Errorf("asked for %d pickers after a change, want 1", asked-before)
		}
	})
}

// around is a policy of another's pickers.
type around struct {
	Policy
	asked func()
}

func (p *around) NewPicker(nodes []*Node, prev Picker) Picker {
	p.asked()
	return p.Policy.NewPicker(nodes, prev)
}

// Who comes back has nothing to catch up on, and nothing to rest from.
func TestPatchedNewcomerTakesItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, calls = 20, 4000
		b := New(Config{Join: func(*Node) (any, []Gate) { return nil, []Gate{&moody{}} }})
		defer b.Close()
		fleet := make([]discovery.Endpoint, n)
		for i := range fleet {
			fleet[i].Addr = fmt.Sprintf("10.0.0.%d:80", i)
		}
		if err := b.Update(fleet); err != nil {
			t.Fatal(err)
		}
		call := func() {
			for range calls {
				l, err := b.Pick(&Info{})
				if err != nil {
					t.Fatal(err)
				}
				l.Release()
			}
		}
		newcomer := b.Nodes()[7]
		call()
		moodOf(newcomer).becomes(Refusing)
		time.Sleep(time.Second)
		synctest.Wait()
		call()
		before := newcomer.Picks()
		moodOf(newcomer).becomes(Admitting)
		time.Sleep(time.Second)
		synctest.Wait()
		if b.patches != 2 {
			t.Fatalf("%d builds of a node alone, want 2", b.patches)
		}
		call()
		if got := int(newcomer.Picks() - before); got < calls/n*9/10 || got > calls/n*11/10 {
			t.Errorf("%d of %d calls to one of %d that came back, want about %d", got, calls, n, calls/n)
		}
	})
}

// A node that is no candidate for a moment, just while a picker is made, is one again
// in the next, and nobody stands in it twice.
func TestPatchesSeeWhatChangedDuringABuild(t *testing.T) {
	for _, tt := range []struct {
		name    string
		remains bool // the other's change
	}{
		{"the other's change remains", true},
		{"both change back", false},
	} {
		for _, policy := range []Policy{RoundRobin(), LeastConn(), P2C(), PeakEWMA()} {
			t.Run(policy.Name()+", "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := New(Config{Policy: policy, Join: func(*Node) (any, []Gate) { return nil, []Gate{&moody{}} }})
					defer b.Close()
					fleet := make([]discovery.Endpoint, 6)
					for i := range fleet {
						fleet[i].Addr = fmt.Sprintf("10.0.0.%d:80", i)
					}
					if err := b.Update(fleet); err != nil {
						t.Fatal(err)
					}
					meanwhile := func() {}
					b.View(func(*Node) bool { meanwhile(); return true })
					late := b.View(nil) // built after that one
					in, out := moodOf(b.Nodes()[1]), moodOf(b.Nodes()[3])
					out.becomes(Refusing)
					time.Sleep(2 * time.Second)
					synctest.Wait()
					meanwhile = func() {
						meanwhile = func() {}
						in.becomes(Refusing)
						out.becomes(Admitting)
					}
					late.Rebuild() // a look at all nodes
					in.becomes(Admitting)
					if !tt.remains {
						out.becomes(Refusing)
					}
					time.Sleep(2 * time.Second)
					synctest.Wait()
					checkBuilt(t, b, b.main)
					checkBuilt(t, b, late)
				})
			})
		}
	}
}

// Nodes, members and views that change beside one another and beside picks come to what
// they are in the end, and every pick is given back.
func TestPatchesBesideEverythingElse(t *testing.T) {
	for _, policy := range []Policy{RoundRobin(), LeastConn(), P2C(), PeakEWMA()} {
		t.Run(policy.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { patchBesideEverythingElse(t, policy) })
		})
	}
}

func patchBesideEverythingElse(t *testing.T, policy Policy) {
	b := New(Config{Policy: policy, Join: func(*Node) (any, []Gate) { return nil, []Gate{&moody{}} }})
	defer b.Close()
	fleet := make([]discovery.Endpoint, 24)
	for i := range fleet {
		fleet[i] = discovery.Endpoint{ID: fmt.Sprint(i), Addr: fmt.Sprintf("10.0.0.%d:80", i), Weight: 1}
	}
	update := func() {
		if err := b.Update(fleet); err != nil {
			t.Error(err)
		}
	}
	update()
	var odd atomic.Bool
	filter := func(n *Node) bool { return len(n.id)%2 == 0 != odd.Load() }
	views := []*View{b.main, b.View(nil), b.View(filter)}
	flip := func() {
		nodes := b.Nodes()
		n := nodes[rand.IntN(len(nodes))]
		switch rand.IntN(10) {
		case 0, 1, 2:
			moodOf(n).becomes(Refusing)
		case 3, 4, 5, 6:
			moodOf(n).becomes(Admitting)
		case 7:
			moodOf(n).becomes(Probing)
		default:
			n.Advise(ChecksFail, rand.IntN(3) == 0)
		}
	}
	pick := func() {
		l, err := views[rand.IntN(len(views))].Pick(&Info{Retryable: true})
		if err != nil {
			return
		}
		l.Report(Outcome{Verdict: Verdict(rand.IntN(5))})
		l.Release()
	}
	doings := []func(){
		flip, flip, pick, pick,
		func() {
			fleet[rand.IntN(len(fleet))].Drain = rand.IntN(2) == 0
			fleet[rand.IntN(len(fleet))].Addr = fmt.Sprintf("10.0.%d.1:80", rand.IntN(200))
			update()
		},
		func() {
			v := b.View(filter)
			time.Sleep(time.Millisecond)
			v.Close()
		},
		func() {
			odd.Store(rand.IntN(2) == 0)
			views[2].Rebuild()
		},
	}
	atRest := func() {
		time.Sleep(20 * time.Second) // longer than any pause between builds, and any cooling
		synctest.Wait()
		for _, v := range views {
			checkBuilt(t, b, v)
		}
		if n := b.InFlight(); n != 0 {
			t.Errorf("%d picks in flight, want none", n)
		}
	}
	for range 3 {
		var wg sync.WaitGroup
		for _, do := range doings {
			wg.Go(func() {
				for range 60 {
					do()
					time.Sleep(rand.N(3 * time.Millisecond))
				}
			})
		}
		wg.Wait()
		atRest()
	}
	patched := 0
	for range 20 { // few nodes at a time, which are built in alone
		var wg sync.WaitGroup
		for _, do := range []func(){flip, flip, pick} {
			wg.Go(do)
		}
		wg.Wait()
		atRest()
		if b.patches > 0 {
			patched++
		}
	}
	if patched < 5 {
		t.Errorf("%d of 20 changes were built in alone, want more", patched)
	}
}
