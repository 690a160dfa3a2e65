package balancer

import (
	"math/bits"
	"slices"
)

// WeightedRoundRobin picks the ready nodes in turn, each as often as its weight
// says and as evenly spread as can be: the sequence of nginx's smooth weighted
// round robin (weights 5, 1, 1 give a a b a c a a), from a random start.
//
// The sequence is precomputed, so that a pick takes no lock and costs the same
// for any number of endpoints. It is nginx's exactly while the number of nodes
// times the sum of the weights (divided by their greatest common divisor) is at
// most 10⁶. Beyond that the sequence is made by earliest deadline first, and a
// node is never two picks away from its share.
//
// Cores that pick at the very same time take 16 turns at once, as in [RoundRobin].
func WeightedRoundRobin() Policy { return weightedRoundRobin{} }

const (
	smoothWork  = 1_000_000 // nodes × turns up to which the sequence is nginx's
	cyclePerEDF = 8         // turns per node in a cycle made by earliest deadline first
	minEDFCycle = 4096
)

type weightedRoundRobin struct{}

func (weightedRoundRobin) Name() string { return "weighted_round_robin" }

func (weightedRoundRobin) NewPicker(nodes []*Node, prev Picker) Picker {
	m := readyMembers(nodes)
	if old, ok := prev.(*weightedPicker); ok && old.same(&m) {
		return old
	}
	p := &weightedPicker{members: m, cycle: newCycle(m.weights, m.equal)}
	p.turns.randomize()
	return p
}

type weightedPicker struct {
	members
	cycle cycle
	turns turns
}

func (p *weightedPicker) Pick(info *Info) Choice {
	if len(p.nodes) == 0 {
		return Choice{}
	}
	i := p.cycle.at(p.turns.take())
	return p.choose(p.nodes[i], info, "weighted round robin")
}

// cycle is a sequence of turns that repeats.
//
// Where a cycle cannot hold every weight exactly, each node has as many fixed
// turns as its share has whole ones, and the turns that are left go to the
// fractions: in each cycle a systematic sample of them (a comb laid over the
// fractions end to end), moved on from cycle to cycle by the golden ratio, so
// that every node gets its fraction of a turn per cycle in the long run and is
// never far from it.
type cycle struct {
	turns     []int32  // an index, or -1-k for the k-th tooth of the comb
	fractions []uint64 // cumulated, in units of 1/sum; nil when there are none
	sum       uint64
}

func newCycle(weights []uint64, equal bool) cycle {
	if equal {
		return cycle{turns: oneEach(len(weights))}
	}
	divisor, sum := uint64(0), uint64(0)
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
	}
	if uint64(len(weights))*(sum/divisor) <= smoothWork {
		return cycle{turns: smooth(weights, sum/divisor)}
	}
	return newEDFCycle(weights, sum)
}

func (c *cycle) at(turn uint64) int {
	n := uint64(len(c.turns))
	i := c.turns[turn%n]
	if i >= 0 {
		return int(i)
	}
	return c.fraction(uint64(-1-i), turn/n)
}

// fraction returns the node under the comb's k-th tooth in the given cycle.
func (c *cycle) fraction(k, number uint64) int {
	const golden = 0x9E3779B97F4A7C15
	shift, _ := bits.Mul64(number*golden, c.sum)
	i, _ := slices.BinarySearch(c.fractions, k*c.sum+shift+1)
	return i
}

// oneEach is what smooth makes of equal weights.
func oneEach(n int) []int32 {
	turns := make([]int32, n)
	for i := range turns {
		turns[i] = int32(i)
	}
	return turns
}

// smooth is nginx's smooth weighted round robin (nginx commit 52327e0627f4):
// everybody gains its weight, the richest is picked and pays the sum.
func smooth(weights []uint64, length uint64) []int32 {
	sum := int64(0)
	for _, w := range weights {
		sum += int64(w)
	}
	credit := make([]int64, len(weights))
	turns := make([]int32, length)
	for t := range turns {
		best := 0
		for i, w := range weights {
			credit[i] += int64(w)
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		turns[t] = int32(best)
	}
	return turns
}

func newEDFCycle(weights []uint64, sum uint64) cycle {
	length := uint64(max(minEDFCycle, cyclePerEDF*len(weights)))
	c := cycle{sum: sum, fractions: make([]uint64, len(weights))}
	parts := make([]part, 0, len(weights)+1)
	cumulated, whole := uint64(0), uint64(0)
	for i, w := range weights {
		turns, fraction := w*length/sum, w*length%sum
		cumulated += fraction
		whole += turns
		c.fractions[i] = cumulated
		if turns > 0 {
			parts = append(parts, part{index: int32(i), turns: turns})
		}
	}
	if rest := length - whole; rest > 0 {
		parts = append(parts, part{index: -1, turns: rest})
	}
	c.turns = schedule(parts, length)
	return c
}

// part is who wants so many turns of a cycle, the k-th within the k-th of as
// many equal stretches.
type part struct {
	turns uint64
	taken uint64
	index int32 // of the node, or -1 for the comb
	next  int32 // of those whose turn may come in the same slot, plus one
}

// schedule gives each slot to the part with the earliest deadline of those whose
// next turn may come already. So nobody is ever a whole turn early or late
// (Baruah et al., "Proportionate Progress", Algorithmica 15, 1996). Without the
// earliest time for a turn, all parts with the same number of turns would come in
// one go, and the heavier ones fall behind by as many.
func schedule(parts []part, length uint64) []int32 {
	// A slot that is yet to come holds a list of those whose turn may come then.
	slots := make([]int32, length)
	for i := range parts {
		parts[i].next, slots[0] = slots[0], int32(i+1)
	}
	ready := make(deadlines, 0, len(parts))
	for now := range length {
		for i := slots[now]; i != 0; i = parts[i-1].next {
			p := &parts[i-1]
			ready.push((p.taken*length+length+p.turns-1)/p.turns<<32 | uint64(i-1))
		}
		i := int32(ready.pop() & (1<<32 - 1))
		p := &parts[i]
		slots[now] = p.index
		if p.index < 0 {
			slots[now] = -1 - int32(p.taken)
		}
		p.taken++
		if from := max(p.taken*length/p.turns, now+1); from < length {
			p.next, slots[from] = slots[from], i+1
		}
	}
	return slots
}

// deadlines is a heap of slots in the upper half and parts in the lower.
type deadlines []uint64

func (q *deadlines) push(d uint64) {
	h := append(*q, d)
	*q = h
	i := len(h) - 1
	for i > 0 && d < h[(i-1)/2] {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = d
}

func (q *deadlines) pop() uint64 {
	h := *q
	first, d := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if child >= len(h) || d <= h[child] {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = d
	return first
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
