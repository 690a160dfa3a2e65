package rolling_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/rolling"
)

// rated returns windows with bad events in so many percent of 100, nil for -1,
// and ones of two events for -2.
func rated(percents ...int) []*rolling.Window {
	windows := make([]*rolling.Window, len(percents))
	for i, p := range percents {
		if p == -1 {
			continue
		}
		windows[i] = rolling.New(10 * time.Second)
		if p == -2 {
			windows[i].Add(at(0), 1, 1)
			continue
		}
		windows[i].Add(at(0), uint64(100-p), uint64(p))
	}
	return windows
}

func repeat(p, n int) []int { return slices.Repeat([]int{p}, n) }

func TestComparison(t *testing.T) {
	for _, tt := range []struct {
		name     string
		percents []int // the first is the one asked for
		want     bool
	}{
		{"a fleet of one", []int{100}, false},
		{"a fleet of one, nobody knows of the other", []int{100, -2}, false},
		{"half against none", []int{50, 0, 0}, true},
		{"half against those that never saw any", []int{50, -1, -1}, true},
		{"two", []int{50, 10}, true},
		{"two alike", []int{50, 50}, false},
		{"22 % everywhere", []int{22, 22, 22, 22}, false},
		{"22 % everywhere, a little noise", []int{30, 22, 18, 21}, false},
		{"all are down", []int{100, 100, 100}, false},
		{"twice the median, but not 20 points above it", []int{29, 10, 10}, false},
		{"20 points above it, but not twice", []int{79, 40, 40}, false},
		{"exactly twice and 20 points", []int{40, 20, 20}, true},
		{"exactly 20 points over nothing", []int{20, 0, 0}, true},
		{"one of the others is as bad", []int{60, 60, 0, 0}, true},
		{"most of the others are as bad", []int{60, 60, 60, 0}, false},
		{"the median of an even number is between", []int{50, 0, 40}, true},
		{"between, and too near", []int{50, 20, 60}, false},
		{"sixteen, one bad", append([]int{50}, repeat(0, 15)...), true},
		{"sixteen alike", repeat(22, 16), false},
		{"sixteen, most of them bad", append(repeat(50, 10), repeat(0, 6)...), false},
		{"sixteen, the others were hardly called", append([]int{50}, repeat(-2, 15)...), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c rolling.Comparison
			windows := rated(tt.percents...)
			if got := c.Worse(at(0), windows[0], len(windows), slices.Values(windows)); got != tt.want {
				t.Errorf("Worse is %v, want %v", got, tt.want)
			}
		})
	}
}

// In a fleet of 16 or more the median is kept for 100 ms; below it is not.
func TestComparisonKeepsTheMedianOfALargeFleet(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int
		scans []int // after 0, 50 and 150 ms
	}{
		{"fifteen", 15, []int{1, 2, 3}},
		{"sixteen", 16, []int{1, 1, 2}},
		{"a thousand", 1000, []int{1, 1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c rolling.Comparison
			windows := rated(append([]int{50}, repeat(0, tt.n-1)...)...)
			scans := 0
			all := func(yield func(*rolling.Window) bool) {
				scans++
				for _, w := range windows {
					if !yield(w) {
						return
					}
				}
			}
			for i, d := range []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond} {
				if !c.Worse(at(d), windows[0], tt.n, all) {
					t.Errorf("after %v: not worse", d)
				}
				if scans != tt.scans[i] {
					t.Errorf("after %v: %d scans, want %d", d, scans, tt.scans[i])
				}
			}
			// A clock that was set back does not keep it for ever.
			c.Worse(at(-time.Hour), windows[0], tt.n, all)
			if scans == tt.scans[2] {
				t.Error("the median outlived a clock that was set back")
			}
		})
	}
}

func TestComparisonConcurrency(_ *testing.T) {
	var c rolling.Comparison
	windows := rated(append([]int{50}, repeat(0, 19)...)...)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				now := at(time.Duration(i) * time.Millisecond)
				windows[g].Add(now, 1, 0)
				c.Worse(now, windows[0], len(windows), slices.Values(windows))
			}
		})
	}
	wg.Wait()
}
