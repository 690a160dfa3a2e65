// Package rolling counts good and bad events over a rolling time window and
// compares one such count with those of its peers.
package rolling

import (
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
	width  int64 // of a bucket, in nanoseconds
	counts [buckets]atomic.Uint64
}

// A bucket's word holds the low bits of its epoch, the good and the bad.
const (
	countBits  = 24
	countMask  = 1<<countBits - 1
	epochShift = 2 * countBits
	epochMask  = 1<<16 - 1
)

// New returns a Window over the given length, which is positive.
func New(length time.Duration) *Window {
	return &Window{width: max(int64(length)/buckets, 1)}
}

// Add counts events at now, saturating at 16 million per bucket.
func (w *Window) Add(now monotime.Time, good, bad uint64) {
	epoch := int64(now) / w.width
	bucket := &w.counts[uint64(epoch)%buckets]
	tag := uint64(epoch) & epochMask
	for {
		old := bucket.Load()
		g, b := good, bad
		if old>>epochShift == tag {
			g += old >> countBits & countMask
			b += old & countMask
		}
		if bucket.CompareAndSwap(old, tag<<epochShift|min(g, countMask)<<countBits|min(b, countMask)) {
			return
		}
	}
}

// Sum returns the events of the window that ends at now.
func (w *Window) Sum(now monotime.Time) (good, bad uint64) {
	epoch := uint64(int64(now) / w.width)
	for i := range w.counts {
		word := w.counts[i].Load()
		if age := (epoch - word>>epochShift) & epochMask; age < buckets {
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
