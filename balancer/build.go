package balancer

import "time"

const (
	minBetweenBuilds = 2 * time.Millisecond
	maxBetweenBuilds = time.Second
	buildShare       = 100                    // a build of t is followed by a pause of 100 t
	tableCost        = 250 * time.Microsecond // from which on what a policy makes is a table, made at most once a second
	costSlack        = 20 * time.Microsecond

	// A call bears the build of so many nodes, where the policy takes no longer.
	callNodes = 64
	callCost  = 50 * time.Microsecond
)

// changed is called when the node's readiness may have changed.
func (n *Node) changed() {
	if n.left.Load() {
		return
	}
	now := time.Now()
	f := n.balancer.fleet.Load()
	ready, probing := n.candidate(now, f.panicking), n.gateState() == Probing
	n.ready.Store(ready)
	if probing {
		n.probingSince.CompareAndSwap(0, now.UnixNano())
	} else if n.probingSince.Load() != 0 {
		n.probingSince.Store(0)
		if n.gateState() == Admitting {
			n.latency.forget() // what it did in its bad times
		}
	}
	n.balancer.changedOnCall(n, f.ready == 0 && (ready || probing && f.probing == 0))
}

func (n *Node) candidate(now time.Time, panicking bool) bool {
	return !n.barred() && (panicking || n.well(now))
}

// changed has the pickers built anew: at once after a quiet time or when it is
// urgent, else at the end of a pause that grows with what a build costs, so that
// a flapping fleet costs at most one percent of a core.
func (b *Balancer) changed(urgent bool) {
	if b.note(nil, urgent, false) {
		b.build()
	}
}

// changedOnCall is changed for the goroutine of a call, which builds only what is
// built fast: else the timer's goroutine does. n is the node that changed, nil for any.
func (b *Balancer) changedOnCall(n *Node, urgent bool) {
	if b.note(n, urgent, true) {
		b.build()
	}
}

// note notes that a node changed, any where n is nil, and reports whether the caller is
// to build now. Else a build is under way or will be, or nobody needs one.
func (b *Balancer) note(n *Node, urgent, onCall bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty = true
	if n == nil || len(b.moved) == patchNodes {
		b.whole = true
	} else {
		b.moved = append(b.moved, moved{n, n.position})
	}
	b.urgent = b.urgent || urgent
	if b.building || b.closed {
		return false
	}
	wait := time.Duration(0)
	if !b.urgent && len(b.members()) > 0 {
		wait = max(time.Until(b.nextBuild), 0)
	}
	if slow := len(b.nodes) > callNodes || b.cost > callCost; wait == 0 && (!onCall || !slow) {
		return true
	}
	b.buildLaterLocked(wait)
	return false
}

func (b *Balancer) buildLaterLocked(wait time.Duration) {
	due := time.Now().Add(wait)
	if !b.due.IsZero() && !due.Before(b.due) {
		return
	}
	b.due = due
	b.timer.after(wait, b.build)
}

// build builds what changed, on one goroutine at a time. What changes meanwhile
// is left to the next build, unless it is urgent.
func (b *Balancer) build() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.building {
		return
	}
	b.building = true
	for b.dirty {
		b.dirty, b.urgent, b.due = false, false, time.Time{}
		pause := b.buildOnceLocked()
		b.nextBuild = time.Now().Add(pause)
		if b.dirty && !b.urgent && !b.closed {
			b.buildLaterLocked(pause)
			break
		}
	}
	b.building = false
}

// buildOnceLocked builds with the mutex released, and returns how long to pause.
func (b *Balancer) buildOnceLocked() time.Duration {
	nodes, views, followers := b.nodes, b.views, b.followers
	some, whole := b.moved, b.whole
	b.moved, b.spare, b.whole = b.spare[:0], some, false
	b.mu.Unlock()

	began := time.Now()
	policy := time.Duration(0)
	f, turns := (*fleet)(nil), []turned(nil)
	if !whole {
		f, turns = b.patch(began, nodes, some)
	}
	if f != nil {
		for _, v := range views {
			policy += v.patch(f, b.standings, some, turns)
		}
	} else {
		f = b.survey(began, nodes)
		for _, v := range views {
			policy += v.build(f, b.standings)
		}
	}
	clear(some)
	if f.ready == 0 {
		hasten(f.nodes)
	}
	took := time.Since(began)
	for _, f := range followers {
		f.built()
	}

	b.mu.Lock()
	// One build that was interrupted must not delay those of a small fleet.
	b.cost = min(policy, 4*b.cost+costSlack)
	if b.cost >= tableCost {
		return maxBetweenBuilds
	}
	took = min(took, took-policy+b.cost)
	return min(max(buildShare*took, minBetweenBuilds), maxBetweenBuilds)
}

// standing is how a node stood when a build looked at it.
type standing uint8

const (
	standsDraining  standing = 1 << iota // or has left: it is out of all sums
	standsProbing                        // its gates wait for one call
	standsRefusing                       // its gates let no call pass, or that one only
	standsAdvisedOf                      // health has something against it
)

// stand looks at a node once for all of a build, since a build looks at all nodes.
func (n *Node) stand(now time.Time) (s standing) {
	if n.drain.Load() {
		return standsDraining
	}
	switch n.gateState() {
	case Admitting:
	case Probing:
		s = standsProbing | standsRefusing
	default:
		s = standsRefusing
	}
	if !n.well(now) {
		s |= standsAdvisedOf
	}
	return s
}

func stand(to []standing, nodes []*Node, now time.Time) []standing {
	for _, n := range nodes {
		to = append(to, n.stand(now))
	}
	return to
}

// candidate reports whether such a node is to be called.
func (s standing) candidate(panicking bool) bool {
	return s == 0 || panicking && s == standsAdvisedOf
}

// probes reports whether such a node waits for a call to prove it.
func (s standing) probes(panicking bool) bool {
	return s&standsProbing != 0 && (panicking || s&standsAdvisedOf == 0)
}

// survey looks at all nodes and decides who is a candidate.
func (b *Balancer) survey(now time.Time, nodes []*Node) *fleet {
	f := &fleet{nodes: nodes, bare: true}
	b.standings, b.tally, b.patches = stand(b.standings[:0], nodes, now), tally{}, 0
	for i, n := range nodes {
		f.bare = f.bare && n.gate.Gate == nil && n.limit == nil
		b.tally.count(b.standings[i], +1)
	}
	f.panicking = b.tally.panicking()
	for i, n := range nodes {
		if b.settle(n, i, now, f.panicking) {
			f.ready++
		}
	}
	f.total, f.probing = b.tally.total, b.tally.probing
	b.fleet.Store(f)
	return f
}

// settle makes a node, the i-th, a candidate or not, and reports which.
func (b *Balancer) settle(n *Node, i int, now time.Time, panicking bool) bool {
	s := &b.standings[i]
	ready := s.candidate(panicking) && !n.left.Load()
	if n.ready.Load() == ready {
		return ready
	}
	// It changed, perhaps since the first look.
	b.tally.count(*s, -1)
	*s = n.stand(now)
	b.tally.count(*s, +1)
	ready = s.candidate(panicking) && !n.left.Load()
	n.ready.Store(ready)
	return ready
}

func hasten(nodes []*Node) {
	for _, n := range nodes {
		n.gate.Hasten()
	}
}
