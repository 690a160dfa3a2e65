package balancer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

var (
	// ErrNoEndpoints is returned by Pick when the service has no endpoint that
	// takes new calls: none at all, only draining ones, or not the one that
	// Info.Endpoint names.
	ErrNoEndpoints = errors.New("balancer: no endpoints")

	// ErrAllRejected is returned by Pick when there are endpoints and the gates
	// of all of them refuse. The gates' reason is in the error's chain.
	ErrAllRejected = errors.New("balancer: all endpoints rejected the call")
)

// Config makes a [Balancer]. The zero value is a balancer with the default
// policy and no gates.
type Config struct {
	// Policy is how the Balancer's own picks choose. Nil means P2C().
	Policy Policy

	// Join is called once for each node that becomes a member, before it can be
	// picked. It returns what Node.Data holds and the node's gates, in the order
	// in which they are asked. Nil means neither.
	Join func(n *Node) (data any, gates []Gate)

	// Limit is called once for each node that becomes a member, after Join, and
	// returns what bounds the attempts in flight there, nil meaning nothing. A nil
	// function means no bounds.
	Limit func(n *Node) Limit

	// Observe is told once what became of each attempt, after the gates, and once
	// more with a Failure when an answer broke off after a good verdict. It is
	// called on the goroutine of the call and must not block. Nil means nobody.
	Observe func(n *Node, o Outcome)

	// Leave is called when a node is no longer a member, and again whenever its
	// calls in flight have come to none. It may be called more often than that,
	// and by several goroutines at once. Nil means nothing.
	Leave func(n *Node)
}

// Balancer keeps a node for each endpoint of a service, knows which of them may
// be called, and picks one for each call. What happened to an endpoint survives
// every update that still names it.
//
// Make one with [New]. All methods but Update are safe for concurrent use; gates
// aside, Pick takes no lock.
type Balancer struct {
	config    Config
	main      *View
	fleet     atomic.Pointer[fleet]
	overloads rolling.Comparison
	timer     stopTimer
	owing     atomic.Int32 // nodes that PeakEWMA owes a call

	mu        sync.Mutex
	nodes     []*Node          // by ID; replaced, never changed; guarded by mu
	departing []*Node          // left with calls in flight; guarded by mu
	byID      map[string]*Node // guarded by mu
	views     []*View          // guarded by mu
	followers []*follower      // replaced, never changed; guarded by mu
	update    uint64           // generation of the last Update; guarded by mu
	dirty     bool             // something changed since the last build began; guarded by mu
	whole     bool             // and not only what moved; guarded by mu
	moved     []moved          // nodes that changed, perhaps more than once; guarded by mu
	spare     []moved          // what the last build saw of these; guarded by mu
	urgent    bool             // and the next build must not wait; guarded by mu
	building  bool             // guarded by mu
	nextBuild time.Time        // earliest; guarded by mu
	due       time.Time        // when the timer builds, zero while it is not set; guarded by mu
	cost      time.Duration    // what the policy took of the last builds; guarded by mu
	closed    bool             // guarded by mu

	joined, left []*Node // by an Update; for who updates, of whom there is one at a time

	// For who builds, of whom there is one at a time: what is known of the nodes.
	standings []standing // of fleet.nodes
	tally     tally      // of standings
	patches   int        // since all of them were looked at
}

// fleet is what the last build saw of the members.
type fleet struct {
	nodes        []*Node
	bare         bool // no node has gates or a limit
	ready, total int  // draining nodes are in neither
	probing      int  // half-open
	panicking    bool // health is ignored
}

// New returns a Balancer without endpoints.
func New(config Config) *Balancer {
	if config.Policy == nil {
		config.Policy = P2C()
	}
	b := &Balancer{config: config, byID: make(map[string]*Node)}
	b.fleet.Store(&fleet{})
	b.main = b.View(nil)
	return b
}

// Pick chooses a node for an attempt, asks its gates, and counts. It returns
// [ErrNoEndpoints] or [ErrAllRejected]. It does not block.
func (b *Balancer) Pick(info *Info) (l Lease, err error) {
	err = b.main.pick(&l, info)
	return l, err
}

// PickInto is [Balancer.Pick] for who has a place for the lease: a Lease is long enough
// for its copies to cost. l must be the zero Lease, and is it still on an error.
func (b *Balancer) PickInto(l *Lease, info *Info) error { return b.main.pick(l, info) }

// Update makes endpoints the whole of the membership. Endpoints are matched by
// identity: a known one keeps its node, also when its weight, zone or metadata
// changed; one whose address changed is another node. Malformed endpoints and
// those whose ID stands twice are left out and named in the error; the others
// take effect all the same. It is for one goroutine at a time.
func (b *Balancer) Update(endpoints []discovery.Endpoint) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.update++
	var bad []error
	joined, changed := b.joined[:0], false
	for i := range endpoints {
		node, news, err := b.matchLocked(&endpoints[i])
		switch {
		case err != nil:
			bad = append(bad, err)
		case node != nil:
			joined = append(joined, node)
		case news:
			changed = true
		}
	}
	b.mu.Unlock()

	for _, n := range joined {
		b.join(n)
	}
	left := b.swap(joined, b.left[:0])
	if changed || len(joined)+len(left) > 0 {
		// Who leaves is out of the pickers before it leaves.
		b.changed(len(left) > 0 || !slices.ContainsFunc(b.members(), (*Node).Ready))
	}
	for _, n := range left {
		b.leave(n)
	}
	clear(joined)
	clear(left)
	b.joined, b.left = joined, left
	return errors.Join(bad...)
}

// matchLocked finds the endpoint's node and updates it, or makes a new one.
func (b *Balancer) matchLocked(e *discovery.Endpoint) (joined *Node, news bool, err error) {
	id := e.Identity()
	n := b.byID[id]
	if n != nil && n.generation == b.update {
		if n.endpoint.Load().Equal(*e) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("balancer: endpoint %q stands twice, at %q and %q: the first counts", id, n.addr, e.Addr)
	}
	if n != nil && n.addr == e.Addr {
		old := n.endpoint.Load()
		if old.Equal(*e) {
			n.generation = b.update
			return nil, false, nil
		}
	}
	if err := e.Validate(); err != nil {
		return nil, false, err
	}
	own := *e
	if n != nil && n.addr == e.Addr {
		n.generation = b.update
		n.set(&own)
		return nil, true, nil
	}
	fresh := &Node{member: &member{id: id, addr: e.Addr, balancer: b, generation: b.update}}
	fresh.latency.node = fresh
	fresh.set(&own)
	b.byID[id] = fresh
	return fresh, true, nil
}

// join makes what the node carries, before anybody can pick it.
func (b *Balancer) join(n *Node) {
	var gates []Gate
	if b.config.Join != nil {
		n.data, gates = b.config.Join(n)
	}
	if b.config.Limit != nil {
		n.limit = b.config.Limit(n)
	}
	n.gate = newNodeGate(gates)
	for _, g := range gates {
		if s, ok := g.(StatefulGate); ok {
			n.stateful = append(n.stateful, s)
		}
	}
	for _, g := range n.stateful {
		g.Notify(n.changed)
	}
}

// swap makes the joined nodes members in the place of those that leave, in one
// step. Those leave that the last Update did not name, or whose identity moved to
// another address. Where the Balancer was closed meanwhile, the joined leave at once.
func (b *Balancer) swap(joined, left []*Node) []*Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return append(left, joined...)
	}
	stays := func(n *Node) bool { return b.byID[n.id] == n && n.generation == b.update }
	if len(joined) == 0 && !slices.ContainsFunc(b.nodes, func(n *Node) bool { return !stays(n) }) {
		return left
	}
	nodes := make([]*Node, 0, len(b.nodes)+len(joined))
	for _, n := range b.nodes {
		if stays(n) {
			nodes = append(nodes, n)
			continue
		}
		left = append(left, n)
		if b.byID[n.id] == n {
			delete(b.byID, n.id)
		}
	}
	nodes = append(nodes, joined...)
	if len(joined) > 0 {
		slices.SortFunc(nodes, byID)
	}
	for i, n := range nodes {
		n.position = i
	}
	b.nodes = nodes
	return left
}

func (b *Balancer) leave(n *Node) {
	n.left.Store(true)
	n.ready.Store(false)
	n.cooling.timer.stop()
	n.latency.pardon()
	b.mu.Lock()
	b.departing = slices.DeleteFunc(b.departing, func(other *Node) bool { return other.InFlight() == 0 || other == n })
	if n.InFlight() > 0 {
		b.departing = append(b.departing, n)
	}
	b.mu.Unlock()
	if b.config.Leave != nil {
		b.config.Leave(n)
	}
}

func (b *Balancer) observe(n *Node, o Outcome) {
	if b.config.Observe != nil {
		b.config.Observe(n, o)
	}
}

// Nodes returns the members, ordered by ID.
func (b *Balancer) Nodes() []*Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.nodes)
}

// InFlight returns the number of attempts that were picked and not yet released,
// those on endpoints that have left included.
func (b *Balancer) InFlight() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := 0
	for _, n := range b.nodes {
		total += n.InFlight()
	}
	for _, n := range b.departing {
		total += n.InFlight()
	}
	return total
}

// Ready returns how many nodes are candidates, of how many that are not draining.
func (b *Balancer) Ready() (ready, total int) {
	f := b.fleet.Load()
	return f.ready, f.total
}

// Probing reports whether a node was half-open at the last build, or is owed a
// call by PeakEWMA, so that the next pick of a retryable call may be a test of its
// node. It does not block.
func (b *Balancer) Probing() bool { return b.fleet.Load().probing > 0 || b.owing.Load() > 0 }

// Panicking reports whether so few nodes are well by health that health is ignored.
func (b *Balancer) Panicking() bool { return b.fleet.Load().panicking }

// Policy returns the policy of the Balancer's own picks.
func (b *Balancer) Policy() Policy { return b.config.Policy }

// Close stops the Balancer's timers and lets all nodes leave. Calls in flight
// can still be reported and released; Pick returns ErrNoEndpoints.
func (b *Balancer) Close() {
	b.mu.Lock()
	b.closed, b.dirty, b.whole = true, true, true
	nodes := b.nodes
	b.nodes = nil
	clear(b.byID)
	b.mu.Unlock()
	b.timer.stop()
	for _, n := range nodes {
		b.leave(n)
	}
	b.build()
}

// members returns the nodes of the last build.
func (b *Balancer) members() []*Node { return b.fleet.Load().nodes }
