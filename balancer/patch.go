package balancer

import (
	"slices"
	"strings"
	"time"
)

const (
	patchNodes = 16  // so many changed nodes are built in alone, and else all are looked at
	patchMost  = 256 // after so many of such builds all nodes are looked at again
)

// tally is how many nodes stand how. Draining ones are in none of its sums.
type tally struct {
	total    int
	probing  int
	clear    int // with nothing against them
	well     int // with nothing of health's against them
	heldBack int // not candidates because of what health says
}

func (t *tally) count(s standing, by int) {
	if s == standsDraining {
		return
	}
	t.total += by
	if s&standsProbing != 0 {
		t.probing += by
	}
	switch {
	case s == 0:
		t.clear += by
		t.well += by
	case s&standsAdvisedOf == 0:
		t.well += by
	case s == standsAdvisedOf, s&standsProbing != 0:
		t.heldBack += by
	}
}

// panicking reports whether health is to be ignored: where fewer than half of the
// nodes are well, it is more likely wrong than most of the fleet is sick (Envoy's panic
// threshold). It is ignored too where it would be all that keeps the last nodes from
// being called.
func (t *tally) panicking() bool {
	return 2*t.well < t.total || t.clear == 0 && t.heldBack > 0
}

// moved is a node that changed, and where it was among the members then.
type moved struct {
	node     *Node
	position int
}

// turned is a node that became a candidate, or ceased to be one.
type turned struct {
	node *Node
	at   int // how many candidates are before it
	in   bool
}

// patcher is a Picker of candidates in the order of their IDs that can be made anew
// for one of them more or less, without a look at the others.
type patcher interface {
	Picker
	size() int
	has(n *Node) bool

	// patched returns nil where all have to be looked at.
	patched(t turned) patcher
}

// patching is a Policy all of whose Pickers are patchers. A Policy that is made of
// another may have reasons of its own for which nodes it gives to that one.
type patching interface {
	Policy
	patches()
}

// patch builds what changed of a few nodes into the last build's outcome. Most changes
// are of one node among many, which are looked at one by one else. It returns nil where that
// has to be. What it goes by is what the last look at each node found.
func (b *Balancer) patch(now time.Time, nodes []*Node, some []moved) (*fleet, []turned) {
	old := b.fleet.Load()
	if b.patches >= patchMost || !sameSlice(nodes, old.nodes) || len(b.standings) != len(nodes) {
		return nil, nil
	}
	slices.SortFunc(some, func(x, y moved) int { return x.position - y.position })
	f := *old
	var room [patchNodes]standing
	before := room[:len(some)]
	for i, m := range some {
		n := m.node
		if n.left.Load() || m.position >= len(nodes) || nodes[m.position] != n {
			return nil, nil
		}
		s := &b.standings[m.position]
		before[i] = *s
		b.tally.count(*s, -1)
		*s = n.stand(now)
		b.tally.count(*s, +1)
	}
	if b.tally.panicking() != old.panicking {
		return nil, nil
	}
	var turns []turned
	for i, m := range some {
		if i > 0 && m == some[i-1] {
			continue
		}
		was := before[i].candidate(f.panicking)
		is := b.settle(m.node, m.position, now, f.panicking)
		switch {
		case is && !was:
			f.ready++
		case was && !is:
			f.ready--
		default:
			continue
		}
		turns = append(turns, turned{node: m.node, at: candidates(b.standings[:m.position], f.panicking), in: is})
	}
	f.total, f.probing = b.tally.total, b.tally.probing
	b.patches++
	b.fleet.Store(&f)
	return &f, turns
}

// candidates counts those that stand as candidates.
func candidates(standings []standing, panicking bool) (count int) {
	for _, s := range standings {
		if s.candidate(panicking) {
			count++
		}
	}
	return count
}

func sameSlice(a, b []*Node) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// patch is build after [Balancer.patch].
func (v *View) patch(f *fleet, standings []standing, some []moved, turns []turned) time.Duration {
	old := v.state.Load()
	_, may := v.balancer.config.Policy.(patching)
	p, ok := old.picker.(patcher)
	if !may || !ok || v.filter != nil || !sameSlice(old.nodes, f.nodes) || p.size() != f.ready+outs(turns) {
		return v.build(f, standings)
	}
	began := time.Now()
	for _, t := range turns {
		if p = p.patched(t); p == nil {
			return v.build(f, standings)
		}
	}
	st := &viewState{nodes: f.nodes, bare: f.bare, ready: f.ready, probing: old.probing}
	for _, m := range some {
		s := standings[m.position]
		if p.has(m.node) != s.candidate(f.panicking) {
			return v.build(f, standings) // it was another for a moment, while the old picker was made
		}
		st.probe(m.node, s.probes(f.panicking))
	}
	v.publish(st, p)
	return time.Since(began)
}

// outs returns how many candidates fewer there are after turns, which may be less than none.
func outs(turns []turned) (fewer int) {
	for _, t := range turns {
		if t.in {
			fewer--
		} else {
			fewer++
		}
	}
	return fewer
}

// probe has the node be among those that wait for a probe, or not.
func (st *viewState) probe(n *Node, probes bool) {
	at, among := slices.BinarySearchFunc(st.probing, n, byID)
	switch {
	case probes && !among:
		st.probing = slices.Insert(slices.Clone(st.probing), at, n)
	case among && !probes:
		st.probing = slices.Delete(slices.Clone(st.probing), at, at+1)
	}
}

// turn returns the members with a node more or less, and false where that is not
// what they are. Slices are shared where they stay the same.
func (m *members) turn(t turned) (members, bool) {
	if t.at > len(m.nodes) || !t.in && (t.at == len(m.nodes) || m.nodes[t.at] != t.node) {
		return members{}, false
	}
	p := members{equal: m.equal}
	if !t.in {
		p.nodes = without(m.nodes, t.at)
		switch {
		case m.weights == nil:
		case m.equal:
			p.weights = m.weights[:len(p.nodes)]
		default:
			p.weights = without(m.weights, t.at)
		}
		return p, true
	}
	if t.at > 0 && byID(m.nodes[t.at-1], t.node) >= 0 || t.at < len(m.nodes) && byID(t.node, m.nodes[t.at]) >= 0 {
		return members{}, false
	}
	p.nodes = with(m.nodes, t.at, t.node)
	weight := uint64(t.node.Weight())
	switch {
	case m.weights == nil:
	case !m.equal:
		p.weights = with(m.weights, t.at, weight)
	case len(m.weights) == 0 || m.weights[0] != weight:
		return members{}, false
	case cap(m.weights) > len(m.weights) && m.weights[:len(p.nodes)][len(m.nodes)] == weight:
		p.weights = m.weights[:len(p.nodes)]
	default:
		p.weights = with(m.weights, t.at, weight)
	}
	return p, true
}

func without[T any](s []T, at int) []T {
	return append(append(make([]T, 0, len(s)-1), s[:at]...), s[at+1:]...)
}

func with[T any](s []T, at int, one T) []T {
	return append(append(append(make([]T, 0, len(s)+1), s[:at]...), one), s[at:]...)
}

func (m *members) size() int { return len(m.nodes) }

func (m *members) has(n *Node) bool {
	at, ok := slices.BinarySearchFunc(m.nodes, n, byID)
	return ok && m.nodes[at] == n
}

func byID(x, y *Node) int { return strings.Compare(x.id, y.id) }
