package balancer

import (
	"math/bits"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// rendezvous ranks few nodes by a hash of key and node: highest random weight.
type rendezvous struct {
	hashes  []uint64
	weights []uint64
	equal   bool
}

func newRendezvous(m *members) *rendezvous {
	r := &rendezvous{weights: m.weights, equal: m.equal, hashes: make([]uint64, len(m.nodes))}
	for i, n := range m.nodes {
		r.hashes[i] = xxh64.Sum(n.id)
	}
	return r
}

func (r *rendezvous) tries() int { return len(r.hashes) }

func (r *rendezvous) choice(key uint64, try int) int {
	if try > 0 {
		return r.ranked(key, try)
	}
	if !r.equal {
		return r.heaviest(key, 0)
	}
	best, highest := 0, uint64(0)
	for i, h := range r.hashes {
		if score := xxh64.Mix(key ^ h); score >= highest {
			best, highest = i, score
		}
	}
	return best
}

// ranked returns the node with try better ones before it, by as many scans.
func (r *rendezvous) ranked(key uint64, try int) int {
	var taken uint32
	for range try {
		taken |= 1 << r.heaviest(key, taken)
	}
	return r.heaviest(key, taken)
}

// heaviest is the node with the least −log2(score)/weight among those not
// taken, which for equal weights is the one with the highest score.
func (r *rendezvous) heaviest(key uint64, taken uint32) int {
	best := -1
	var cost, weight uint64
	for i, h := range r.hashes {
		if taken>>i&1 != 0 {
			continue
		}
		c, w := cost2(xxh64.Mix(key^h)), r.weights[i]
		if best < 0 || less(c, weight, cost, w) {
			best, cost, weight = i, c, w
		}
	}
	return best
}

// less reports whether a×b < c×d.
func less(a, b, c, d uint64) bool {
	ah, al := bits.Mul64(a, b)
	ch, cl := bits.Mul64(c, d)
	return ah < ch || ah == ch && al < cl
}

// cost2 returns −log2(x/2⁶⁴) in units of 2⁻⁵⁶, in integers only, so that all
// machines agree. It falls as x grows.
func cost2(x uint64) uint64 {
	if x == 0 {
		return 64 << 56
	}
	zeros := bits.LeadingZeros64(x)
	x <<= zeros
	i := x >> 55 & 0xff
	step, _ := bits.Mul64(x<<9, log2Table[i+1]-log2Table[i])
	return uint64(zeros+1)<<56 - log2Table[i] - step
}

// log2Table holds log2(1 + i/256) in units of 2⁻⁵⁶; between its entries the
// logarithm is taken for a line.
var log2Table = func() (table [257]uint64) {
	for i := range 256 {
		table[i] = log2Fraction(1<<63 | uint64(i)<<55)
	}
	table[256] = 1 << 56
	return table
}()

// log2Fraction returns log2(x/2⁶³) for x ≥ 2⁶³ in units of 2⁻⁵⁶: one binary
// digit for each squaring (Knuth, TAOCP 1.2.2, exercise 25).
func log2Fraction(x uint64) (y uint64) {
	for digit := uint64(1 << 55); digit > 0; digit >>= 1 {
		hi, lo := bits.Mul64(x, x)
		if hi>>63 != 0 {
			y |= digit
			x = hi
			continue
		}
		x = hi<<1 | lo>>63
	}
	return y
}
