package main

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// quick is the least effort.
var quick = effort{rounds: 1, slice: time.Millisecond}

// runs runs a contest for a moment, as a report does for longer.
func runs(t *testing.T, c *contest) {
	t.Helper()
	c.slice = 0
	results, err := c.run(quick)
	if err != nil {
		t.Error(err)
		return
	}
	for i, r := range results {
		if r.name != c.entries[i].name || len(r.cpu) != 1 || len(r.ratio) != 1 || r.cpu[0] <= 0 {
			t.Errorf("%s: the result of %s is %+v", c.name, c.entries[i].name, r)
		}
	}
}

// counting is a worker that counts what it did.
func counting(name string, done *atomic.Int64, each time.Duration) entry {
	return entry{name, func() (worker, error) {
		return caller(func() error {
			done.Add(1)
			began := time.Now()
			for time.Since(began) < each {
				runtime.Gosched()
			}
			return nil
		}, func() { done.Add(1 << 40) }), nil
	}}
}

func TestContest(t *testing.T) {
	var first, second atomic.Int64
	c := &contest{name: "test", parallel: 4, entries: []entry{counting("first", &first, 0), counting("second", &second, time.Microsecond)}}
	results, err := c.run(effort{rounds: 3, slice: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if first.Load()>>40 != 1 || second.Load()>>40 != 1 {
		t.Error("not each entry was stopped once")
	}
	for i, name := range []string{"first", "second"} {
		r := results[i]
		if r.name != name || len(r.cpu) != 3 || len(r.ratio) != 3 || len(r.p50) != 3 || len(r.slower) != 3 {
			t.Errorf("the result of %s is %+v", name, r)
		}
	}
	if r := results[0]; slices.Max(r.ratio) != 1 || slices.Min(r.ratio) != 1 {
		t.Errorf("the first entry's ratios to itself are %v", r.ratio)
	}
}

var errWork = errors.New("work fails")

// Whatever fails, the contest says who and why, and stops who was started.
func TestContestFails(t *testing.T) {
	failing := map[string]entry{
		"start": {"bad", func() (worker, error) { return worker{}, errWork }},
		"work":  {"bad", func() (worker, error) { return caller(func() error { return errWork }, nil), nil }},
		"help": {"bad", func() (worker, error) {
			w := caller(func() error { return nil }, nil)
			w.helper = func() (time.Duration, error) { return 0, errWork }
			return w, nil
		}},
		"later": {"bad", func() (worker, error) {
			end := time.Now().Add(5 * time.Millisecond)
			return caller(func() error {
				if time.Now().After(end) {
					return errWork
				}
				return nil
			}, nil), nil
		}},
	}
	for name, bad := range failing {
		t.Run(name, func(t *testing.T) {
			var good atomic.Int64
			c := &contest{name: "test", entries: []entry{counting("good", &good, 0), bad}}
			results, err := c.run(effort{rounds: 20, slice: time.Millisecond})
			if !errors.Is(err, errWork) || !strings.Contains(err.Error(), "test: bad: ") {
				t.Errorf("error %v", err)
			}
			if results != nil {
				t.Errorf("results %v", results)
			}
			if good.Load()>>40 != 1 {
				t.Error("the other entry was not stopped once")
			}
		})
	}
}

// pieces keeps what the work of TestCount allocates.
var pieces [3]*[100]byte

// What is counted is one piece's, however many do the work.
func TestCount(t *testing.T) {
	for _, callers := range []int{1, 4} {
		c := &contest{name: "test", parallel: callers, entries: []entry{{"three", func() (worker, error) {
			return worker{work: func(n int) error {
				for range n {
					var own [3]*[100]byte
					for i := range own {
						own[i] = new([100]byte)
					}
					if n == 0 {
						pieces = own // never, but so that they are on the heap
					}
				}
				return nil
			}}, nil
		}}}}
		results, err := c.run(quick)
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; math.Abs(r.allocs-3) > 0.1 || math.Abs(r.bytes-3*112) > 20 {
			t.Errorf("%d callers: three times 112 bytes are %v allocations and %v bytes", callers, r.allocs, r.bytes)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(test.of); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.of, got, test.want)
		}
	}
}
