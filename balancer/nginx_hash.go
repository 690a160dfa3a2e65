package balancer

import "slices"

// nginxHash is IPHash as nginx does it (ngx_http_upstream_ip_hash_module).
type nginxHash struct{}

const (
	nginxStart   = 89
	nginxFactor  = 113
	nginxModulus = 6271
	nginxTries   = 20 // after the first
)

func (nginxHash) Name() string { return "ip_hash_nginx" }

func (nginxHash) NewPicker(nodes []*Node, prev Picker) Picker {
	p := &nginxHashPicker{members: membersOf(nodes, func(*Node) bool { return true })}
	var turns, p2c Picker
	old, ok := prev.(*nginxHashPicker)
	if ok {
		turns, p2c = old.turns, old.p2c
	}
	if ok && old.same(&p.members) {
		p.ends = old.ends
	} else {
		p.ends = cumulated(p.weights)
	}
	p.turns = WeightedRoundRobin().NewPicker(nodes, turns)
	p.p2c = P2C().NewPicker(nodes, p2c)
	return p
}

// cumulated returns the sum of each weight and all before it.
func cumulated(weights []uint64) []uint64 {
	sums, sum := make([]uint64, len(weights)), uint64(0)
	for i, w := range weights {
		sum += w
		sums[i] = sum
	}
	return sums
}

type nginxHashPicker struct {
	members          // all, draining ones too
	ends    []uint64 // cumulated weights
	turns   Picker   // for calls whose tries are used up
	p2c     Picker   // for calls without a key
}

func (p *nginxHashPicker) Pick(info *Info) Choice {
	if len(p.nodes) == 0 {
		return Choice{}
	}
	if addr, ok := ClientIP(info.Context); ok {
		octets := addr.As16()
		if addr.Is4() {
			return nginxChoose(p, octets[12:15], info)
		}
		return nginxChoose(p, octets[:], info)
	}
	if key, ok := HashKey(info.Context); ok {
		return nginxChoose(p, key, info)
	}
	choice := p.p2c.Pick(info)
	choice.Reason = ReasonNoKey
	return choice
}

func nginxChoose[T string | []byte](p *nginxHashPicker, key T, info *Info) Choice {
	hash, total, reason := uint64(nginxStart), p.ends[len(p.ends)-1], "hash"
	for range 1 + nginxTries {
		for i := range len(key) {
			hash = (hash*nginxFactor + uint64(key[i])) % nginxModulus
		}
		i, found := slices.BinarySearch(p.ends, hash%total)
		if found {
			i++
		}
		if n := p.nodes[i]; n.Ready() && !info.Avoids(n) {
			return Choice{Node: n, Reason: reason}
		}
		reason = "hash, next choice"
	}
	choice := p.turns.Pick(info)
	choice.Reason = "hash, tries used up"
	return choice
}
