package balancer

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

// Node is the live state of one endpoint: what is in flight, whether it may be
// called, and what its gates think. It lives as long as the endpoint is a
// member, through every update. All methods are safe for concurrent use.
type Node struct {
	// This is one cache line, and all that a call without gates looks at: where
	// thousands of nodes are called at random, what they cost is cache lines.

	// counts holds the picks so far in the upper half and the calls in flight
	// in the lower, so that a pick is one atomic addition.
	counts    atomic.Uint64
	latency   latency // for PeakEWMA
	ready     atomic.Bool
	left      atomic.Bool
	overloads atomic.Pointer[rolling.Window] // for cooling; nil while none was seen
	*member
}

// member is the rest of a Node, which no call writes.
type member struct {
	balancer *Balancer
	gate     nodeGate // of all its gates
	limit    Limit    // nil without

	id       string
	addr     string
	endpoint atomic.Pointer[discovery.Endpoint]
	weight   atomic.Uint32  // of the endpoint, at hand for builds, which look at all nodes
	drain    atomic.Bool    // of the endpoint
	stateful []StatefulGate // of the gates
	data     any

	cooling      cooling
	ailments     atomic.Uint32 // that health advises of
	penalties    atomic.Int32  // after which PeakEWMA owed the node a call, in a row
	probingSince atomic.Int64  // Unix nanoseconds, 0 while not half-open

	generation uint64 // of the last Update that named the node; guarded by Balancer.mu
	position   int    // among the members; guarded by Balancer.mu
}

const (
	onePick     = 1<<32 | 1
	inFlightMax = 1<<32 - 1
)

// ID returns the identity of the endpoint.
func (n *Node) ID() string { return n.id }

// Addr returns where the endpoint listens, as host:port.
func (n *Node) Addr() string { return n.addr }

// Endpoint returns what discovery last said of the endpoint.
func (n *Node) Endpoint() discovery.Endpoint { return *n.endpoint.Load() }

// Weight returns the endpoint's weight, at least 1.
func (n *Node) Weight() int { return int(n.weight.Load()) }

// Ready reports whether the node is a candidate now: not draining, admitted by
// its gates, and well by health or in panic.
func (n *Node) Ready() bool { return n.ready.Load() }

// InFlight returns the number of calls that were picked and not yet released.
func (n *Node) InFlight() int { return int(n.counts.Load() & inFlightMax) }

// Picks returns the number of picks so far, modulo 2³².
func (n *Node) Picks() uint32 { return uint32(n.counts.Load() >> 32) }

// uncount takes back a count, where the call did not come about.
func (n *Node) uncount() {
	if n.counts.Add(^uint64(onePick)+1)&inFlightMax == 0 && n.left.Load() {
		n.balancer.leave(n)
	}
}

// Data returns what Config.Join made for this node, nil without it.
func (n *Node) Data() any { return n.data }

// State says in one word why the node is or is not a candidate.
func (n *Node) State() State {
	switch gate := n.gateState(); {
	case n.drain.Load():
		return Draining
	case gate == Refusing:
		return Open
	case gate == Probing:
		return HalfOpen
	case n.Ready():
		return Ready
	case n.ailments.Load()&uint32(ChecksFail) != 0:
		return Unhealthy
	case n.ailments.Load() != 0:
		return Ejected
	default:
		return Cooling
	}
}

// set makes e what discovery says of the endpoint.
func (n *Node) set(e *discovery.Endpoint) {
	n.endpoint.Store(e)
	n.weight.Store(uint32(e.EffectiveWeight()))
	n.drain.Store(e.Drain)
	if e.Drain {
		n.ready.Store(false)
	}
}

// gateState is the strictest state of the node's gates.
func (n *Node) gateState() GateState {
	strictest := Admitting
	for _, g := range n.stateful {
		strictest = max(strictest, g.State())
	}
	return strictest
}

// barred reports whether the node must not be called, whatever health thinks.
func (n *Node) barred() bool {
	return n.left.Load() || n.drain.Load() || n.gateState() != Admitting
}

// refusal returns the reason of a gate that is known to refuse, or nil.
func (n *Node) refusal() error {
	for _, g := range n.stateful {
		if g.State() == Admitting {
			continue
		}
		token, err := g.Allow()
		if err != nil {
			return err
		}
		g.Done(token, Outcome{}) // it has changed its mind
	}
	return nil
}

// Well reports whether health has nothing against the node: neither cooling nor
// an [Ailment]. What its gates think does not matter.
func (n *Node) Well() bool { return n.well(time.Now()) }

// well reports whether health has nothing against the node.
func (n *Node) well(now time.Time) bool { return n.ailments.Load() == 0 && !n.cooling.active(now) }

// Advise says whether the node has an ailment. While it has one, it is no
// candidate, unless so few nodes are well that health is ignored. It does not block.
func (n *Node) Advise(a Ailment, has bool) {
	var before uint32
	if has {
		before = n.ailments.Or(uint32(a))
	} else {
		before = n.ailments.And(^uint32(a))
	}
	if before&uint32(a) != 0 != has {
		n.changed()
	}
}

// Ailment is a reason for which health advises against a node.
type Ailment uint32

// The ailments.
const (
	// ChecksFail means that active checks of the endpoint fail.
	ChecksFail Ailment = 1 << iota

	// OutlierAmongPeers means that the endpoint does worse than its peers.
	OutlierAmongPeers
)

// starved reports whether the node has been half-open for so long that any call
// will do as its probe.
func (n *Node) starved() bool {
	since := n.probingSince.Load()
	return since != 0 && time.Now().UnixNano()-since >= int64(probeAnyAfter)
}

// State is a node's state in one word.
type State string

// The states of a node.
const (
	Ready     State = "ready"     // a candidate
	Draining  State = "draining"  // discovery asks for no new calls
	Open      State = "open"      // a gate refuses, such as an open breaker
	HalfOpen  State = "half-open" // a gate waits for one call to prove the endpoint
	Unhealthy State = "unhealthy" // its active checks fail
	Ejected   State = "ejected"   // it is an outlier among its peers
	Cooling   State = "cooling"   // the endpoint asked to be left alone, or answers overload
)

// nodeSet is a small set of nodes in the order in which they were added.
type nodeSet struct {
	first [2]*Node // nil where there are fewer
	more  *[]*Node // what does not fit into first; nil until a third node
}

func (s *nodeSet) empty() bool { return s.first[0] == nil }

func (s *nodeSet) add(n *Node) {
	switch {
	case s.has(n):
	case s.first[0] == nil:
		s.first[0] = n
	case s.first[1] == nil:
		s.first[1] = n
	case s.more == nil:
		s.more = &[]*Node{n}
	default:
		more := append(*s.more, n)
		s.more = &more
	}
}

func (s *nodeSet) has(n *Node) bool {
	return n == s.first[0] || n == s.first[1] || s.more != nil && slices.Contains(*s.more, n)
}

// all calls yield for each node.
func (s *nodeSet) all(yield func(*Node) bool) {
	for _, n := range s.first {
		if n == nil || !yield(n) {
			return
		}
	}
	if s.more != nil {
		slices.Values(*s.more)(yield)
	}
}

// stopTimer is a timer that can be set again and stopped for good.
type stopTimer struct {
	mu      sync.Mutex
	timer   *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

func (t *stopTimer) after(d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(d, f)
}

func (t *stopTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}
