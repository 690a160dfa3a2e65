package balancer

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// IPHash sends the calls of one end user to one endpoint, by the address that
// [WithClientIP] put into the call's context: the whole of an IPv4 address, the
// /64 of an IPv6 address. Without an address the key of [WithHashKey] counts,
// and without either the pick is P2C's.
//
// All processes agree on the endpoint of an address. Up to 16 endpoints are
// chosen by rendezvous hashing (Thaler and Ravishankar, IEEE/ACM ToN 6(1),
// 1998): when one leaves, only its users move. Above that a Maglev table does
// (Eisenbud et al., NSDI 2016) and a few percent of the others move too. Both
// respect weights. A user whose endpoint is not ready goes to a second choice
// and comes back when it is. The one call that proves a half-open endpoint may be
// anybody's.
//
// A [NginxHash] among the options changes how addresses are hashed.
func IPHash(options ...IPHashOption) Policy {
	for _, o := range options {
		if o == NginxHash {
			return nginxHash{}
		}
	}
	return ipHash{}
}

// IPHashOption is an option of [IPHash].
type IPHashOption uint8

// NginxHash makes [IPHash] choose what nginx's ip_hash does for a list of the
// same endpoints in the order of their IDs: by the first three octets of an IPv4
// address or the whole of an IPv6 address, in proportion to weights, with up to
// 20 more tries where that one is not ready, and then by weighted round robin. A draining endpoint keeps its place
// in the list, as one marked down does in nginx.
//
// When an endpoint joins or leaves, nearly all users move: use it beside an
// nginx that has to agree, else not. A key of [WithHashKey] is hashed as if its
// bytes were an address.
const NginxHash IPHashOption = 1

// ReasonNoKey is the reason of a pick for which a hashing policy had no key.
const ReasonNoKey = "no hash key"

const rendezvousMax = 16

type ipHash struct{}

func (ipHash) Name() string { return "ip_hash" }

func (ipHash) NewPicker(nodes []*Node, prev Picker) Picker {
	old, _ := prev.(*hashPicker)
	return newHashPicker(nodes, old, addressKey)
}

// hashPicker chooses by a key: from a table over all members, ready or not.
type hashPicker struct {
	members
	table hashTable
	key   func(*Info) (uint64, bool)
	p2c   *p2cPicker // for calls without a key
}

// hashTable ranks nodes for a key: choice(key, 0) is the first, choice(key, 1)
// the one for when that does not do, and so on. Choices may repeat.
type hashTable interface {
	choice(key uint64, try int) int
	tries() int
}

func newHashPicker(nodes []*Node, old *hashPicker, key func(*Info) (uint64, bool)) *hashPicker {
	p := &hashPicker{members: membersOf(nodes, func(n *Node) bool { return !n.drain.Load() }), key: key}
	ready := readyMembers(nodes)
	if old != nil && old.p2c.same(&ready) {
		p.p2c = old.p2c
	} else {
		p.p2c = newP2CPicker(ready)
	}
	switch {
	case old != nil && old.same(&p.members):
		p.table = old.table
	case len(p.nodes) <= rendezvousMax:
		p.table = newRendezvous(&p.members)
	default:
		p.table = newMaglev(&p.members)
	}
	return p
}

func (p *hashPicker) Pick(info *Info) Choice {
	key, ok := p.key(info)
	if !ok {
		choice := p.p2c.Pick(info)
		choice.Reason = ReasonNoKey
		return choice
	}
	if len(p.nodes) == 0 {
		return Choice{}
	}
	if n := p.nodes[p.table.choice(key, 0)]; n.Ready() && !info.Avoids(n) {
		return Choice{Node: n, Reason: "hash"}
	}
	return p.walk(key, info)
}

// walk goes on along the hash until it finds a ready node that the call does
// not avoid.
func (p *hashPicker) walk(key uint64, info *Info) Choice {
	for try := 1; try < p.table.tries(); try++ {
		if n := p.nodes[p.table.choice(key, try)]; n.Ready() && !info.Avoids(n) {
			return Choice{Node: n, Reason: "hash, next choice"}
		}
	}
	// Hardly anybody is ready: the few share the users among them.
	few := &p.p2c.members
	if len(few.nodes) == 0 {
		return Choice{}
	}
	i, _ := bits.Mul64(xxh64.Mix(key), uint64(len(few.nodes)))
	return few.choose(few.nodes[i], info, "hash, of the few ready")
}

func addressKey(info *Info) (uint64, bool) {
	if addr, ok := ClientIP(info.Context); ok {
		return hashAddr(addr), true
	}
	if key, ok := HashKey(info.Context); ok {
		return xxh64.Sum(key), true
	}
	return 0, false
}

func hashAddr(addr netip.Addr) uint64 {
	if addr.Is4() {
		b := addr.As4()
		return xxh64.Mix(uint64(binary.BigEndian.Uint32(b[:])) ^ 4<<32)
	}
	b := addr.As16()
	return xxh64.Mix(binary.BigEndian.Uint64(b[:8]))
}
