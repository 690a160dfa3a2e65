package balancer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// probeAnyAfter is how long a half-open node waits for a call that can be
// retried before it is handed any call: a service whose calls are all unsafe to
// repeat would else never get the node back.
const probeAnyAfter = 10 * time.Second

// staleTries is how often a pick that found nobody looks at newer nodes.
const staleTries = 3

// policyTries is how often a pick asks the policy again before it takes any node.
const policyTries = 5

// View picks over some of a Balancer's nodes with a picker of its own. Counts,
// gates and readiness are the nodes', so they are shared with all other views.
type View struct {
	balancer *Balancer
	filter   func(*Node) bool
	state    atomic.Pointer[viewState]
}

// viewState is immutable and replaced by each build.
type viewState struct {
	picker   Picker
	observer Observer
	peak     *peakPicker // the picker, if it is one: it shares the times that are known
	nodes    []*Node
	probing  []*Node // half-open
	ready    int
	bare     bool // no node has gates or a limit, and nobody but PeakEWMA observes
}

// View returns a View over the nodes for which filter is true, nil meaning
// all. filter is called with no lock held at each build; see [View.Rebuild].
func (b *Balancer) View(filter func(*Node) bool) *View {
	v := &View{balancer: b, filter: filter}
	f := b.fleet.Load()
	v.build(f, stand(nil, f.nodes, time.Now()))
	b.mu.Lock()
	b.views = append(b.views, v)
	b.mu.Unlock()
	b.changed(false)
	return v
}

// Rebuild asks the filter again, because its answer may have changed.
func (v *View) Rebuild() { v.balancer.changedOnCall(nil, false) }

// Close ends the View's part in builds.
func (v *View) Close() {
	b := v.balancer
	b.mu.Lock()
	defer b.mu.Unlock()
	b.views = slices.DeleteFunc(slices.Clone(b.views), func(other *View) bool { return other == v })
}

// Others reports whether a node is ready that the call does not avoid.
func (v *View) Others(info *Info) bool {
	for _, n := range v.state.Load().nodes {
		if n.Ready() && !info.Avoids(n) {
			return true
		}
	}
	return false
}

// Others reports whether a node is ready that the call does not avoid.
func (b *Balancer) Others(info *Info) bool { return b.main.Others(info) }

// build makes the View's picker anew and returns how long the policy took. standings
// are those of the fleet's nodes.
func (v *View) build(f *fleet, standings []standing) time.Duration {
	st := &viewState{nodes: f.nodes, bare: f.bare}
	if v.filter != nil {
		st.nodes = make([]*Node, 0, len(f.nodes))
	}
	for i, n := range f.nodes {
		if v.filter != nil {
			if !v.filter(n) {
				continue
			}
			st.nodes = append(st.nodes, n)
		}
		switch s := standings[i]; {
		case s.candidate(f.panicking):
			st.ready++
		case s.probes(f.panicking):
			st.probing = append(st.probing, n)
		}
	}
	var prev Picker
	if old := v.state.Load(); old != nil {
		prev = old.picker
	}
	began := time.Now()
	v.publish(st, v.balancer.config.Policy.NewPicker(st.nodes, prev))
	return time.Since(began)
}

// publish lets picks go by st, which is ready but for its picker.
func (v *View) publish(st *viewState, p Picker) {
	st.picker = p
	st.observer, _ = p.(Observer)
	st.peak, _ = p.(*peakPicker)
	st.bare = st.bare && (st.observer == nil || st.peak != nil)
	v.state.Store(st)
}

// Pick is [Balancer.Pick] over the View's nodes.
func (v *View) Pick(info *Info) (l Lease, err error) {
	err = v.pick(&l, info)
	return l, err
}

// pick makes a lease of l, which is the zero Lease. It is the way of nearly all
// calls, by a node that takes them; the others leave it early or at its end.
func (v *View) pick(l *Lease, info *Info) error {
	st := v.state.Load()
	if info.full || !info.refused.empty() {
		info.full, info.refused = false, nodeSet{}
	}
	if info.Endpoint != "" || len(st.probing) > 0 {
		return v.pickNewer(l, st, info, v.pickFrom(l, st, info))
	}
	var choice Choice
	if st.peak != nil {
		l.clock = sinceEpoch()
		choice = st.peak.pick(info, l.clock)
	} else {
		choice = st.picker.Pick(info)
	}
	n := choice.Node
	if st.bare && n != nil && (st.peak == nil || !info.Stream) && v.leaseBare(l, st, n, choice.Reason) {
		return nil
	}
	var refusal error
	if n != nil && n.Ready() {
		if refusal = v.lease(l, st, info, n, choice.Reason); refusal == nil {
			return nil
		}
		info.refused.add(n)
		choice = st.picker.Pick(info)
	}
	l.clock = 0
	return v.pickNewer(l, st, info, v.pickOn(l, st, info, choice, refusal))
}

// leaseBare is lease where nobody has to be asked. It counts before it looks at the
// node, so that cores which call the same node pass its cache line around once. l
// remains as it was where the node takes no calls.
func (v *View) leaseBare(l *Lease, st *viewState, n *Node, reason string) bool {
	l.node, l.view, l.reason = n, v, reason
	n.counts.Add(onePick)
	if n.ready.Load() && !n.left.Load() {
		if st.peak != nil {
			n.latency.start(l.clock)
			l.waits = true
		}
		return true
	}
	n.uncount()
	l.node, l.view, l.reason = nil, nil, ""
	return false
}

// pickNewer is for the pick that came to nothing: the nodes that it knew may have
// left meanwhile, and others are there.
func (v *View) pickNewer(l *Lease, st *viewState, info *Info, err error) error {
	for range staleTries {
		now := v.state.Load()
		if err == nil || now == st {
			break
		}
		st = now
		info.refused = nodeSet{}
		err = v.pickFrom(l, st, info)
	}
	return err
}

// pickFrom picks from the nodes of one build.
func (v *View) pickFrom(l *Lease, st *viewState, info *Info) error {
	if info.Endpoint != "" {
		return v.pickPinned(l, st, info)
	}
	if len(st.probing) > 0 && v.pickProbe(l, st, info) {
		return nil
	}
	return v.pickOn(l, st, info, st.picker.Pick(info), nil)
}

// pickOn is for the rare call whose first choice did not do, because there is
// none, it is no candidate any more, or its gate refused: the policy chooses
// again, and where that does not help either, any node will do.
func (v *View) pickOn(l *Lease, st *viewState, info *Info, choice Choice, refusal error) error {
	for range policyTries {
		n := choice.Node
		if n == nil {
			return v.pickAgain(l, st, info, refusal)
		}
		if !v.stale(n, info) {
			err := v.lease(l, st, info, n, choice.Reason)
			if err == nil {
				return nil
			}
			refusal = err
		}
		info.refused.add(n)
		choice = st.picker.Pick(info)
	}
	return v.pickAny(l, st, info, refusal)
}

// stale reports whether n, a candidate when the picker was made, is none any
// more. Health's advice against it does not count where no other node is ready.
func (v *View) stale(n *Node, info *Info) bool {
	return !n.Ready() && (n.barred() || v.Others(info))
}

// pickAny asks every node once, in a random order: where so many gates refuse,
// the way by the policy would cost the square of their number.
func (v *View) pickAny(l *Lease, st *viewState, info *Info, refusal error) error {
	size := len(st.nodes)
	if size == 0 {
		return v.pickAgain(l, st, info, refusal)
	}
	step := 1 + rand.IntN(size)
	for gcd(uint64(step), uint64(size)) != 1 {
		step = 1 + rand.IntN(size)
	}
	i := rand.IntN(size)
	for range size {
		i = (i + step) % size
		n := st.nodes[i]
		if !n.Ready() || info.Avoids(n) {
			continue
		}
		err := v.lease(l, st, info, n, "any that admits")
		if err == nil {
			return nil
		}
		refusal = err
	}
	return v.pickAgain(l, st, info, refusal)
}

// pickProbe hands the call to a half-open node that waits for one, if the call
// is fit to be a probe.
func (v *View) pickProbe(l *Lease, st *viewState, info *Info) bool {
	if info.Hedge {
		return false
	}
	anyCall := info.Retryable || st.ready == 0
	for _, n := range st.probing {
		if n.left.Load() || info.Avoids(n) || !anyCall && !n.starved() {
			continue
		}
		if v.lease(l, st, info, n, "probe") == nil {
			l.probe = true
			return true
		}
	}
	return false
}

// pickAgain is for a call that has no new node left: one that it tried before
// is better than none, and so is a half-open one that it would else avoid.
func (v *View) pickAgain(l *Lease, st *viewState, info *Info, refusal error) error {
	if info.Hedge {
		return rejection(st, refusal)
	}
	for n := range info.tried.all {
		if n.barred() || info.refused.has(n) {
			continue
		}
		err := v.lease(l, st, info, n, "only endpoint left")
		if err == nil {
			return nil
		}
		refusal = err
	}
	for _, n := range st.probing {
		if n.left.Load() || info.refused.has(n) {
			continue
		}
		err := v.lease(l, st, info, n, "probe")
		if err == nil {
			l.probe = true
			return nil
		}
		refusal = err
	}
	return rejection(st, refusal)
}

func (v *View) pickPinned(l *Lease, st *viewState, info *Info) error {
	i := slices.IndexFunc(st.nodes, func(n *Node) bool { return n.id == info.Endpoint && !n.left.Load() })
	if i < 0 {
		return fmt.Errorf("%w: the call wants %q, which is none of the service's %d", ErrNoEndpoints, info.Endpoint, len(st.nodes))
	}
	probe := st.nodes[i].gateState() == Probing
	if err := v.lease(l, st, info, st.nodes[i], "pinned"); err != nil {
		return fmt.Errorf("%w: the call wants %q: %w", ErrAllRejected, info.Endpoint, err)
	}
	l.probe = probe
	return nil
}

// lease asks the node's gate and counts. l is the zero Lease but for its clock, and so it
// is on an error.
func (v *View) lease(l *Lease, st *viewState, info *Info, n *Node, reason string) error {
	if n.limit != nil && !info.Stream {
		if err := n.limit.Enter(); err != nil {
			info.full = true
			return err
		}
		l.limited = true
	}
	if gate := n.gate.Gate; gate != nil {
		token, err := gate.Allow()
		if err != nil {
			return l.giveUp(n, err)
		}
		l.token, l.gated = token, true
	}
	l.node, l.view, l.reason = n, v, reason
	if st.observer != nil {
		if l.clock == 0 {
			l.clock = sinceEpoch()
		}
		if st.peak != nil && !info.Stream { // which may have nothing to say for hours
			n.latency.start(l.clock)
			l.waits = true
		}
	}
	n.counts.Add(onePick)
	if n.left.Load() {
		// Whoever leaves looks for calls in flight after it has said so: one that
		// counted before it looked is waited for, one that came later is here.
		l.Release()
		*l = Lease{}
		return errLeft
	}
	return nil
}

// giveUp is for a Lease that a gate of n refused for err.
func (l *Lease) giveUp(n *Node, err error) error {
	if l.limited {
		n.limit.Undo()
	}
	*l = Lease{clock: l.clock}
	return err
}

// errLeft is why a node that is no longer a member takes no call.
var errLeft = errors.New("balancer: the endpoint has left")

// rejection says why there is no node. refusal is what a gate said in this pick,
// if any was asked; else one that is known to refuse is asked for its reason.
func rejection(st *viewState, refusal error) error {
	none := true
	for _, n := range st.nodes {
		if n.left.Load() || n.drain.Load() {
			continue
		}
		none = false
		if refusal != nil {
			break
		}
		refusal = n.refusal()
	}
	switch {
	case none:
		return ErrNoEndpoints
	case refusal != nil:
		return fmt.Errorf("%w: %w", ErrAllRejected, refusal)
	default:
		return ErrAllRejected
	}
}

// observe has who learns from outcomes learn from l's.
func (v *View) observe(l *Lease, n *Node, o Outcome, now time.Duration) {
	if l.waits {
		n.latency.end(o, now, now-l.clock)
	}
	switch st := v.state.Load(); {
	case st.peak == nil && st.observer != nil:
		st.observer.Observe(n, o, now-l.clock)
	case st.peak != nil && !l.waits && o.Verdict == Failure:
		n.latency.learn(o, now, now-l.clock) // all that a stream tells
	}
}
