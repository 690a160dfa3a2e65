package main

import (
	"fmt"
	"math"
	"slices"
)

// result is what a contest saw of one entry.
type result struct {
	name          string
	cpu           []float64 // nanoseconds for one piece of work, by round
	p50           []float64 // nanoseconds that one piece takes, by round; none where nobody asks
	ratio         []float64 // of CPU time, to the first entry's of the same round
	slower        []float64 // of p50, likewise
	allocs, bytes float64   // for one piece of work
}

// compare compares the last round with that of the first entry.
func (r *result) compare(first *result) {
	last := len(r.cpu) - 1
	r.ratio = append(r.ratio, r.cpu[last]/first.cpu[last])
	if len(r.p50) > 0 {
		r.slower = append(r.slower, r.p50[last]/first.p50[last])
	}
}

// cost is the ratio with what it is one of.
func (r *result) cost() string {
	return fmt.Sprintf("%s (%s)", times(median(r.ratio)), duration(median(r.cpu)))
}

func (r *result) allocations() string { return group(int(math.Round(r.allocs))) }

// median is the middle of values, which are not changed; 0 of none.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile is what the share q of values, which are not changed, is at most: between two
// of them where it falls between; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i == len(sorted)-1 {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
