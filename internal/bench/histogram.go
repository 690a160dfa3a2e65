package main

import (
	"math/bits"
	"sync"
	"time"
)

const (
	fineness = 5 // bits of a duration that are kept: 3 % of it
	buckets  = 64 << fineness
)

// counts count durations by their size.
type counts [buckets]uint32

func (c *counts) add(d time.Duration) { c[bucket(uint64(max(d, 0)))]++ }

// bucket is where a duration is counted: itself while it is small, then its
// highest bits and how many bits follow.
func bucket(d uint64) int {
	drop := max(bits.Len64(d)-fineness-1, 0)
	return drop<<fineness + int(d>>drop)
}

// middle is a duration that is counted there.
func middle(bucket int) float64 {
	drop := max(bucket>>fineness-1, 0)
	low := uint64(bucket-drop<<fineness) << drop
	return float64(low) + float64(uint64(1)<<drop-1)/2
}

// histogram is what many goroutines have counted.
type histogram struct {
	mu     sync.Mutex
	counts counts // guarded by mu
}

func (h *histogram) merge(c *counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, n := range c {
		h.counts[i] += n
	}
}

// take returns the median in nanoseconds, 0 of nothing, and begins anew.
func (h *histogram) take() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.counts = counts{} }()
	all := 0
	for _, n := range h.counts {
		all += int(n)
	}
	seen := 0
	for i, n := range h.counts {
		if seen += int(n); n > 0 && 2*seen >= all {
			return middle(i)
		}
	}
	return 0
}
