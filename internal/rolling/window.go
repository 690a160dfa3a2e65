// Package rolling counts good and bad events over a rolling time window and
// compares one such count with those of its peers.
package rolling

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
)

const buckets = 10

// Window counts events over the length given to [New], in ten buckets: the
// oldest tenth of it in part. It is safe for concurrent use and takes no lock.
//
// It goes by the times it is given: a step of a wall clock disturbs it for one
// such length.
type Window struct {
	width   uint64 // of a bucket, in nanoseconds
	inverse uint64 // of width, in units of 2⁻⁶⁴
	counts  [buckets]atomic.Uint64
}

// A bucket's word holds the low bits of its epoch, the good and the bad.
const (
	countBits  = 24
	countMask  = 1<<countBits - 1
	epochShift = 2 * countBits
	epochMask  = 1<<16 - 1
)

// lateMost is by how many windows an event may come too late and still be told from one
// that comes when nothing was counted for as long as it takes the tags to come round.
const lateMost = 10

// New returns a Window over the given length, which is positive.
func New(length time.Duration) *Window {
	width := uint64(max(length/buckets, 1))
	return &Window{width: width, inverse: math.MaxUint64 / width}
}

// epoch returns now/width, by which buckets are numbered, without the division, which
// takes as long as the rest of an Add.
func (w *Window) epoch(now monotime.Time) uint64 {
	quotient, _ := bits.Mul64(uint64(now), w.inverse)
	if uint64(now)-quotient*w.width >= w.width {
		quotient++
	}
	return quotient
}

// Add counts events at now, saturating at 16 million per bucket.
func (w *Window) Add(now monotime.Time, good, bad uint64) {
	epoch := w.epoch(now)
	bucket, tag := &w.counts[epoch%buckets], epoch&epochMask
	for {
		old := bucket.Load()
		g, b := good, bad
		switch age := (old>>epochShift - tag) & epochMask; {
		case age == 0:
			g += old >> countBits & countMask
			b += old & countMask
		case age <= lateMost*buckets && age%buckets == 0 && old&(1<<epochShift-1) != 0:
			return // it comes so late that its bucket is another's
		}
		if bucket.CompareAndSwap(old, tag<<epochShift|min(g, countMask)<<countBits|min(b, countMask)) {
			return
		}
	}
}

// AddGood is Add(now, 1, 0), and faster where the bucket is in use and not full, and nobody
// else adds.
func (w *Window) AddGood(now monotime.Time) {
	epoch := w.epoch(now)
	bucket := &w.counts[epoch%buckets]
	old := bucket.Load()
	if old>>epochShift == epoch&epochMask && old>>countBits&countMask < countMask && bucket.CompareAndSwap(old, old+1<<countBits) {
		return
	}
	w.Add(now, 1, 0)
}

// Sum returns the events of the window that ends at now.
func (w *Window) Sum(now monotime.Time) (good, bad uint64) {
	epoch := w.epoch(now)
	for i := range w.counts {
		word := w.counts[i].Load()
		// A word that nobody has touched while the tags came round is in another's place.
		if age := (epoch - word>>epochShift) & epochMask; age < buckets && (epoch-age)%buckets == uint64(i) {
			good += word >> countBits & countMask
			bad += word & countMask
		}
	}
	return good, bad
}

// Rate returns the share of bad events and the number of all.
func (w *Window) Rate(now monotime.Time) (rate float64, samples uint64) {
	good, bad := w.Sum(now)
	samples = good + bad
	if samples == 0 {
		return 0, 0
	}
	return float64(bad) / float64(samples), samples
}

// Reset forgets all events.
func (w *Window) Reset() {
	for i := range w.counts {
		w.counts[i].Store(0)
	}
}
