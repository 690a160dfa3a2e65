package rolling

import (
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
)

const (
	minPeerSamples = 5  // a peer with fewer says nothing
	exactBelow     = 16 // peers are compared afresh in fleets smaller than this
	keepMedian     = 100 * time.Millisecond
)

// Comparison tells whether one member of a fleet is clearly worse than its
// peers: its rate of bad events is at least twice the median of theirs and at
// least 20 points above it. A fault that all members share is nobody's.
//
// The zero value is ready for use and safe for concurrent use. One Comparison
// serves one fleet.
type Comparison struct {
	cached atomic.Pointer[median]
}

type median struct {
	at   monotime.Time
	rate float64
	ok   bool
}

// Worse reports whether own is clearly worse than its peers among all the
// windows of a fleet of the given size (own included). A nil window stands for a
// member in which nothing bad was ever seen. Without peers that have samples it
// is false.
func (c *Comparison) Worse(now monotime.Time, own *Window, size int, all iter.Seq[*Window]) bool {
	rate, _ := own.Rate(now)
	m := c.peers(now, own, size, all)
	return m.ok && rate >= 2*m.rate && rate >= m.rate+0.2
}

// peers returns the median of the others, or in a larger fleet that of all,
// where one member makes no difference and the scan is worth saving.
func (c *Comparison) peers(now monotime.Time, own *Window, size int, all iter.Seq[*Window]) median {
	if size < exactBelow {
		return medianOf(now, own, size, all)
	}
	if m := c.cached.Load(); m != nil && now.Sub(m.at).Abs() < keepMedian {
		return *m
	}
	m := medianOf(now, nil, size, all)
	c.cached.Store(&m)
	return m
}

func medianOf(now monotime.Time, except *Window, size int, all iter.Seq[*Window]) median {
	rates := make([]float64, 0, size)
	for w := range all {
		switch {
		case w == nil:
			rates = append(rates, 0)
		case w != except:
			if rate, samples := w.Rate(now); samples >= minPeerSamples {
				rates = append(rates, rate)
			}
		}
	}
	if len(rates) == 0 {
		return median{at: now}
	}
	slices.Sort(rates)
	half := len(rates) / 2
	m := rates[half]
	if len(rates)%2 == 0 {
		m = (rates[half-1] + rates[half]) / 2
	}
	return median{at: now, rate: m, ok: true}
}
