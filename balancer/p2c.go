package balancer

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// P2C draws two different ready nodes at random and picks the one with fewer
// calls in flight; where that is the same, the one that was picked less often.
// It costs the same for any number of endpoints and is the default.
//
// A weight counts in the draw and in both comparisons. One node is less busy
// than another if it still has no more calls per weight with this call than the
// other has without: with equal weights that is to have fewer calls. So an idle
// service is called in proportion to its weights.
//
// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"
// (IEEE TPDS 12(10), 2001); the draw without replacement is Finagle's and
// tower's, the tie rule HAProxy's.
func P2C() Policy { return p2c{} }

type p2c struct{}

func (p2c) Name() string { return "p2c" }

func (p2c) patches() {}

func (p2c) NewPicker(nodes []*Node, prev Picker) Picker {
	m := readyMembers(nodes)
	if old, ok := prev.(*p2cPicker); ok && old.same(&m) {
		return old
	}
	return newP2CPicker(m)
}

func newP2CPicker(m members) *p2cPicker {
	p := &p2cPicker{}
	p.init(m)
	return p
}

type p2cPicker struct {
	members
	lots  lots
	seats []seat
}

// seat is what a pick needs of a node and its place in the picker, side by side.
type seat struct {
	node   *Node
	weight uint32
	// base is the node's picks when this picker was made. Ties are broken by the
	// picks since then, so that a newcomer has nothing to catch up on.
	base uint32 // atomic
}

func (p *p2cPicker) init(m members) {
	p.members, p.lots, p.seats = m, newLots(m.weights, m.equal), make([]seat, len(m.nodes))
	for i, n := range p.nodes {
		p.seats[i] = seat{node: n, weight: uint32(m.weights[i]), base: n.Picks()}
	}
}

// maxPicks is the number of picks of one node after which all are counted from
// zero again: the counts wrap, and one that wrapped would win all ties.
const maxPicks = 1 << 31

func (p *p2cPicker) rebase() {
	for i := range p.seats {
		s := &p.seats[i]
		atomic.StoreUint32(&s.base, s.node.Picks())
	}
}

func (p *p2cPicker) Pick(info *Info) Choice {
	switch len(p.seats) {
	case 0:
		return Choice{}
	case 1:
		return p.choose(p.nodes[0], info, "only candidate")
	}
	i, j := two(&p.lots, p.equal)
	a, b := &p.seats[i], &p.seats[j]
	if !info.tried.empty() || !info.refused.empty() {
		return p.avoid(a, b, info)
	}
	return Choice{Node: p.better(a, b), Reason: "less busy of two"}
}

// avoid is Pick for a call that wants other nodes than some.
func (p *p2cPicker) avoid(a, b *seat, info *Info) Choice {
	switch avoidA, avoidB := info.Avoids(a.node), info.Avoids(b.node); {
	case avoidA && avoidB:
		return Choice{Node: p.other(info), Reason: "neither of two"}
	case avoidA:
		return Choice{Node: b.node, Reason: "other of two"}
	case avoidB:
		return Choice{Node: a.node, Reason: "other of two"}
	}
	return Choice{Node: p.better(a, b), Reason: "less busy of two"}
}

// two draws two different nodes of two or more.
func two(l *lots, equal bool) (i, j uint64) {
	if equal {
		r := rand.Uint64()
		i, j = r>>32*l.n>>32, r&(1<<32-1)*(l.n-1)>>32
		if j >= i {
			j++
		}
		return i, j
	}
	r := rand.Uint64()
	i = l.at(r)
	for range 4 {
		// As random as another number, and faster.
		r = xxh64.Mix(r)
		if j = l.at(r); j != i {
			return i, j
		}
	}
	// One weight outweighs the rest: any other node will do.
	if j = rand.Uint64N(l.n - 1); j >= i {
		j++
	}
	return i, j
}

func (p *p2cPicker) better(a, b *seat) *Node {
	countsA, countsB := a.node.counts.Load(), b.node.counts.Load()
	sinceA, sinceB := countsA-uint64(atomic.LoadUint32(&a.base))<<32, countsB-uint64(atomic.LoadUint32(&b.base))<<32
	if (sinceA|sinceB)>>32&maxPicks != 0 {
		p.rebase()
		return a.node
	}
	// Which is better is a coin's toss: the compiler is to choose without a jump.
	better, other := a.node, b.node
	if p.equal {
		// The calls in flight first, and then the picks.
		if bits.RotateLeft64(sinceB, 32) < bits.RotateLeft64(sinceA, 32) {
			better = other
		}
		return better
	}
	wa, wb := uint64(a.weight), uint64(b.weight)
	// Calls per weight, by cross product.
	x, y := (countsA&inFlightMax)*wb, (countsB&inFlightMax)*wa
	switch {
	case x+wb <= y:
		return better
	case y+wa <= x:
		return other
	}
	if sinceB>>32*wa < sinceA>>32*wb {
		better = other
	}
	return better
}

func (p *p2cPicker) patched(t turned) patcher {
	fresh := &p2cPicker{}
	if !fresh.patch(p, t) {
		return nil
	}
	return fresh
}

// patch makes the picker of another one. With different weights all chances change.
func (p *p2cPicker) patch(of *p2cPicker, t turned) (ok bool) {
	if !of.equal || len(of.seats) == 0 {
		return false
	}
	if p.members, ok = of.turn(t); !ok {
		return false
	}
	p.lots = newLots(p.weights, true)
	p.seats = make([]seat, 0, len(p.nodes))
	p.sit(of.seats[:t.at])
	rest := of.seats[t.at:]
	if t.in {
		p.seats = append(p.seats, seat{node: t.node, weight: of.seats[0].weight, base: t.node.Picks() - of.usual()})
	} else {
		rest = rest[1:]
	}
	p.sit(rest)
	return true
}

// sit adds seats of another picker, which may still be in use.
func (p *p2cPicker) sit(seats []seat) {
	for i := range seats {
		s := &seats[i]
		p.seats = append(p.seats, seat{node: s.node, weight: s.weight, base: atomic.LoadUint32(&s.base)})
	}
}

// usual is about how often a node was picked since its seat was made, by a look at a few.
func (p *p2cPicker) usual() uint32 {
	const few = 4
	sum := uint64(0)
	for range few {
		s := &p.seats[p.lots.draw()]
		if since := s.node.Picks() - atomic.LoadUint32(&s.base); since < maxPicks { // else it was uncounted
			sum += uint64(since)
		}
	}
	return uint32(sum / few)
}
