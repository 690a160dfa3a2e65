package balancer

import (
	"math"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// The sizes a Maglev table can have, both prime: the first while it holds ten
// entries per node. A size that followed the number of nodes would move nearly
// all keys at each change.
const (
	maglevSmall = 65_537
	maglevLarge = 655_373
)

// maglev is a Maglev table: each node fills the entries of its own permutation
// in turn, as often as its weight says.
type maglev struct {
	entries []uint16 // where the fleet has fewer than 65,536 nodes
	wide    []uint32 // else
	size    uint64
}

const maglevTries = 32

func newMaglev(m *members) *maglev {
	t := &maglev{size: maglevSmall}
	if len(m.nodes) > maglevSmall/10 {
		t.size = maglevLarge
	}
	filled := t.fill(m)
	if len(m.nodes) > math.MaxUint16 {
		t.wide = filled
		return t
	}
	t.entries = make([]uint16, t.size)
	for i, n := range filled {
		t.entries[i] = uint16(n)
	}
	return t
}

func (t *maglev) tries() int { return maglevTries }

func (t *maglev) choice(key uint64, try int) int {
	slot := xxh64.Mix(key+uint64(try)) % t.size
	if t.wide != nil {
		return int(t.wide[slot])
	}
	return int(t.entries[slot])
}

// permutation is one node's walk over the table.
type permutation struct {
	at, skip uint64
	credit   float64
}

// fill lets every node claim the next free entry of its permutation until none
// is free. A lighter node passes its turn until its credit reaches the weight of
// the heaviest.
func (t *maglev) fill(m *members) []uint32 {
	const free = math.MaxUint32
	table := make([]uint32, t.size)
	for i := range table {
		table[i] = free
	}
	walks := make([]permutation, len(m.nodes))
	heaviest := uint64(0)
	for i, n := range m.nodes {
		h := xxh64.Sum(n.id)
		walks[i] = permutation{at: h % t.size, skip: xxh64.Mix(h)%(t.size-1) + 1}
		heaviest = max(heaviest, m.weights[i])
	}
	for left := t.size; left > 0; {
		for i := range walks {
			w := &walks[i]
			w.credit += float64(m.weights[i]) / float64(heaviest)
			if w.credit < 1 || left == 0 {
				continue
			}
			w.credit--
			for table[w.at] != free {
				w.at = (w.at + w.skip) % t.size
			}
			table[w.at] = uint32(i)
			left--
		}
	}
	return table
}
