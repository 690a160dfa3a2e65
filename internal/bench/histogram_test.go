package main

import (
	"math"
	"testing"
	"time"
)

// Every duration has a bucket, and its middle is within 2 % of it.
func TestBuckets(t *testing.T) {
	last := -1
	for d := 1.0; d < math.MaxInt64; d *= 1.01 {
		b := bucket(uint64(d))
		if b < last || b >= buckets {
			t.Fatalf("bucket(%v) = %d, after %d", uint64(d), b, last)
		}
		last = b
		if off := math.Abs(middle(b)-math.Trunc(d)) / d; off > 0.02 {
			t.Errorf("%v is taken for %v", uint64(d), middle(b))
		}
	}
}

func TestHistogramTakesTheMedian(t *testing.T) {
	h := &histogram{}
	if got := h.take(); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	var c counts
	for range 10 {
		c.add(time.Microsecond)
		c.add(time.Millisecond)
	}
	c.add(time.Microsecond)
	h.merge(&c)
	if got := h.take(); math.Abs(got-1000) > 20 {
		t.Errorf("the median is %v, want 1000", got)
	}
	if got := h.take(); got != 0 {
		t.Errorf("what was taken is there again: %v", got)
	}
}
