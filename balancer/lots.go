package balancer

import "math/rand/v2"

// lots draws indexes with chances in proportion to weights, in constant time:
// Walker's alias method, built as Vose describes (IEEE TSE 17(9), 1991), in
// integers.
type lots struct {
	n       uint64
	columns []column // nil when all weights are the same
}

// column keeps its own index in keep of 2³² cases and gives the others away.
type column struct {
	keep  uint64
	alias uint32
}

func newLots(weights []uint64, equal bool) lots {
	l := lots{n: uint64(len(weights))}
	if equal {
		return l
	}
	var sum uint64
	for _, w := range weights {
		sum += w
	}
	l.columns = make([]column, len(weights))
	rest := make([]uint64, len(weights)) // of each column's mass; the mean is sum
	stacks := make([]uint32, 2*l.n)
	small, large := stacks[:0:l.n], stacks[l.n:l.n]
	for i, w := range weights {
		rest[i] = w * l.n
		if rest[i] < sum {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, g := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		l.columns[s] = column{keep: scale(rest[s], sum), alias: g}
		rest[g] -= sum - rest[s]
		if rest[g] < sum {
			large = large[:len(large)-1]
			small = append(small, g)
		}
	}
	for _, left := range [...][]uint32{small, large} {
		for _, i := range left {
			l.columns[i] = column{keep: 1 << 32, alias: i}
		}
	}
	return l
}

// scale returns part/whole in units of 2⁻³², for part < whole.
func scale(part, whole uint64) uint64 {
	return uint64(float64(part) / float64(whole) * (1 << 32))
}

// draw returns an index. There must be one.
func (l *lots) draw() uint64 {
	r := rand.Uint64()
	if l.columns == nil {
		return r >> 32 * l.n >> 32
	}
	return l.at(r)
}

// at returns the index that a random number stands for, where there are columns.
func (l *lots) at(r uint64) uint64 {
	i := r >> 32 * l.n >> 32
	c := &l.columns[i]
	alias := uint64(c.alias)
	if r&(1<<32-1) >= c.keep {
		i = alias // without a jump, that would be mispredicted every few draws
	}
	return i
}
