package retry

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	latencyUnit  = 16 * time.Microsecond
	latencyFine  = 5 // bits: a bucket is at most a thirty-second of its latency wide
	latencySteps = 1 << latencyFine
	latencyMost  = 24 // doublings of the unit, which is a little more than four minutes
)

// latencies counts latencies by their size, in buckets that are three percent
// wide. It is safe for concurrent use.
type latencies struct {
	counts [(latencyMost - latencyFine + 1) * latencySteps]atomic.Uint32
}

func (l *latencies) add(d time.Duration) { l.counts[bucketOf(d)].Add(1) }

func (l *latencies) merge(other *latencies) {
	if other == nil {
		return
	}
	for i := range other.counts {
		if n := other.counts[i].Load(); n > 0 {
			l.counts[i].Add(n)
		}
	}
}

func (l *latencies) total() (n uint64) {
	for i := range l.counts {
		n += uint64(l.counts[i].Load())
	}
	return n
}

// quantile returns a latency that at least the share q of all are not above: the
// upper end of its bucket.
func (l *latencies) quantile(q float64) time.Duration {
	rest := (1 - q) * float64(l.total())
	above := 0.0
	for i := len(l.counts) - 1; i > 0; i-- {
		above += float64(l.counts[i].Load())
		if above > rest {
			return bucketEnd(i)
		}
	}
	return bucketEnd(0)
}

// bucketOf is the whole units of d below 2⁵, and above that its leading bit and
// the five after it.
func bucketOf(d time.Duration) int {
	units := uint64(max(d, 0) / latencyUnit)
	if units < latencySteps {
		return int(units)
	}
	doublings := bits.Len64(units) - 1 - latencyFine
	if doublings >= latencyMost-latencyFine {
		return (latencyMost-latencyFine+1)*latencySteps - 1
	}
	return doublings<<latencyFine + int(units>>doublings)
}

// bucketEnd is the smallest latency above those of the bucket.
func bucketEnd(i int) time.Duration {
	i++
	if i < latencySteps {
		return time.Duration(i) * latencyUnit
	}
	doublings := i>>latencyFine - 1
	return time.Duration(i-doublings<<latencyFine) << doublings * latencyUnit
}
