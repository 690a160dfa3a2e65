package rolling_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

// at is some time after the beginning of a bucket of one second.
func at(d time.Duration) monotime.Time { return monotime.Time(1_700_000 * time.Second).Add(d) }

func TestWindowEdges(t *testing.T) {
	const s = time.Second
	type add struct {
		at        time.Duration
		good, bad uint64
	}
	for _, tt := range []struct {
		name      string
		adds      []add
		at        time.Duration
		good, bad uint64
	}{
		{"empty", nil, 0, 0, 0},
		{"at once", []add{{0, 2, 1}}, 0, 2, 1},
		{"the last moment of the window", []add{{0, 2, 1}}, 10*s - 1, 2, 1},
		{"past the window", []add{{0, 2, 1}}, 10 * s, 0, 0},
		{"late in its bucket leaves with its bucket", []add{{s - 1, 2, 1}}, 10 * s, 0, 0},
		{"two in one bucket", []add{{0, 2, 1}, {s - 1, 3, 4}}, s, 5, 5},
		{"ten buckets", []add{{0, 1, 0}, {s, 1, 0}, {2 * s, 1, 0}, {3 * s, 1, 0}, {4 * s, 1, 0}, {5 * s, 1, 0}, {6 * s, 1, 0}, {7 * s, 1, 0}, {8 * s, 1, 0}, {9 * s, 1, 1}}, 9 * s, 10, 1},
		{"the eleventh replaces the first", []add{{0, 100, 0}, {5 * s, 1, 0}, {10 * s, 0, 7}}, 10 * s, 1, 7},
		{"much later", []add{{0, 100, 0}, {time.Hour, 1, 2}}, time.Hour, 1, 2},
		{"the clock was set back", []add{{100 * s, 5, 5}}, 50 * s, 0, 0},
		{"what comes too late", []add{{100 * s, 5, 5}, {90 * s, 1, 1}, {10 * s, 1, 1}}, 100 * s, 5, 5},
	} {
		test := func(t *testing.T, add func(w *rolling.Window, a add)) {
			w := rolling.New(10 * s)
			for _, a := range tt.adds {
				add(w, a)
			}
			good, bad := w.Sum(at(tt.at))
			if good != tt.good || bad != tt.bad {
				t.Errorf("Sum is %d good and %d bad, want %d and %d", good, bad, tt.good, tt.bad)
			}
			rate, samples := w.Rate(at(tt.at))
			want := 0.0
			if tt.good+tt.bad > 0 {
				want = float64(tt.bad) / float64(tt.good+tt.bad)
			}
			if rate != want || samples != tt.good+tt.bad {
				t.Errorf("Rate is %v of %d, want %v of %d", rate, samples, want, tt.good+tt.bad)
			}
			w.Reset()
			if good, bad := w.Sum(at(tt.at)); good+bad != 0 {
				t.Errorf("after Reset: %d good and %d bad", good, bad)
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			test(t, func(w *rolling.Window, a add) { w.Add(at(a.at), a.good, a.bad) })
		})
		t.Run(tt.name+", the good one by one", func(t *testing.T) {
			test(t, func(w *rolling.Window, a add) {
				for range a.good {
					w.AddGood(at(a.at))
				}
				w.Add(at(a.at), 0, a.bad)
			})
		})
	}
}

func TestWindowRotates(t *testing.T) {
	w := rolling.New(10 * time.Second)
	for i := range 1000 {
		now := at(time.Duration(i) * 250 * time.Millisecond)
		w.Add(now, 1, 0)
		// Nine whole buckets of four, and what the tenth has so far.
		want := min(i+1, 36+i%4+1)
		if good, _ := w.Sum(now); good != uint64(want) {
			t.Fatalf("after %d quarters of a second: %d, want %d", i+1, good, want)
		}
	}
}

func TestWindowSaturates(t *testing.T) {
	const most = 1<<24 - 1
	w := rolling.New(10 * time.Second)
	for range 3 {
		w.Add(at(0), most-1, 1<<40)
	}
	w.AddGood(at(0))
	if good, bad := w.Sum(at(0)); good != most || bad != most {
		t.Errorf("%d good and %d bad, want %d of both", good, bad, most)
	}
	w.AddGood(at(time.Second))
	if good, _ := w.Sum(at(time.Second)); good != most+1 {
		t.Errorf("%d good, want %d: the next bucket counts on", good, most+1)
	}
}

// A bucket knows the low 16 bits of its time, and its place. So what was counted once
// shows for another window 5 × 65,536 buckets later, where its bucket was not used in
// between: for a window of 10 s after 91 hours without a call.
func TestWindowEpochWraps(t *testing.T) {
	const lap = 65_536 * time.Second
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  uint64
	}{
		{"just before", lap - time.Second, 0},
		{"before, in the same place", lap - 6*time.Second, 0},
		{"half a lap", lap / 2, 0},
		{"past it", lap + 10*time.Second, 0},
		{"a lap later", lap, 0},
		{"documented: five laps later", 5 * lap, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := rolling.New(10 * time.Second)
			w.Add(at(0), 7, 0)
			if good, _ := w.Sum(at(tt.after)); good != tt.want {
				t.Errorf("%d good, want %d", good, tt.want)
			}
			if w.Add(at(tt.after), 1, 0); tt.want == 0 {
				if good, _ := w.Sum(at(tt.after)); good != 1 {
					t.Errorf("%d good after another, want 1", good)
				}
			}
		})
	}
	t.Run("in use all the time", func(t *testing.T) {
		w := rolling.New(10 * time.Second)
		for d := time.Duration(0); d < lap+20*time.Second; d += time.Second {
			w.AddGood(at(d))
			if d > 10*time.Second {
				if good, _ := w.Sum(at(d)); good != 10 {
					t.Fatalf("after %v: %d good, want 10", d, good)
				}
			}
		}
	})
}

func TestWindowConcurrency(t *testing.T) {
	w := rolling.New(10 * time.Second)
	var wg sync.WaitGroup
	const workers, each = 8, 5000
	for g := range workers {
		wg.Go(func() {
			for i := range each {
				// All within one window, over three buckets.
				now := at(time.Duration(i%3) * time.Second)
				if g%2 == 0 {
					w.AddGood(now)
				} else {
					w.Add(now, 0, 1)
				}
				w.Sum(now)
			}
		})
	}
	wg.Wait()
	if good, bad := w.Sum(at(2 * time.Second)); good != workers/2*each || bad != workers/2*each {
		t.Errorf("%d good and %d bad, want %d of both", good, bad, workers/2*each)
	}
}

// Nothing is lost and nothing counted twice where workers that are late by up to three
// buckets add around the edges of buckets which others have begun.
func TestWindowConcurrencyAroundEdges(t *testing.T) {
	const epochs = 60
	w := rolling.New(10 * time.Second)
	var counts [epochs]struct{ good, bad atomic.Uint64 }
	var clock atomic.Int64 // in milliseconds
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ms := clock.Load(); ms < epochs*1000; ms = clock.Add(rand.Int64N(10)) {
				when := max(ms-rand.Int64N(3000), 0)
				if edge := when / 1000 * 1000; rand.IntN(2) == 0 {
					when = max(edge-rand.Int64N(2), 0)
				}
				now, count := at(time.Duration(when)*time.Millisecond), &counts[when/1000]
				if rand.IntN(3) == 0 {
					count.bad.Add(1)
					w.Add(now, 0, 1)
				} else {
					count.good.Add(1)
					w.AddGood(now)
				}
			}
		})
	}
	wg.Wait()
	var wantGood, wantBad uint64
	for i := range 10 {
		count := &counts[epochs-1-i]
		wantGood += count.good.Load()
		wantBad += count.bad.Load()
	}
	if good, bad := w.Sum(at(epochs*time.Second - 1)); good != wantGood || bad != wantBad {
		t.Errorf("%d good and %d bad in the last ten buckets, want %d and %d", good, bad, wantGood, wantBad)
	}
}

func TestWindowOfNothing(t *testing.T) {
	w := rolling.New(0) // rounded up to buckets of a nanosecond
	w.Add(at(0), 1, 1)
	if good, bad := w.Sum(at(0)); good != 1 || bad != 1 {
		t.Errorf("%d good and %d bad, want 1 and 1", good, bad)
	}
}

func TestWindowAllocatesNothing(t *testing.T) {
	w := rolling.New(10 * time.Second)
	if n := testing.AllocsPerRun(100, func() { w.Add(at(0), 1, 0); w.Rate(at(0)) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A bucket begins and ends where the quotient of time and width steps, for all widths.
func TestEpochIsTheQuotient(t *testing.T) {
	for _, length := range []time.Duration{1, 10, 30, 70, time.Second, 7 * time.Second, 10 * time.Second, time.Hour, math.MaxInt64} {
		width := monotime.Time(max(length/10, 1))
		check := func(now monotime.Time) {
			// What is counted in the last moment of a bucket is there for nine more.
			now = max(now, 0)
			w := rolling.New(length)
			w.AddGood(now)
			if good, _ := w.Sum(now); good != 1 {
				t.Errorf("%v: what came at %d is not there", length, now)
			}
			last := (now/width + 10) * width // the first moment without it
			if last < now || last > math.MaxInt64/2 && length > time.Hour {
				return
			}
			if good, _ := w.Sum(last - 1); good != 1 {
				t.Errorf("%v: what came at %d is gone at %d", length, now, last-1)
			}
			if good, _ := w.Sum(last); good != 0 {
				t.Errorf("%v: what came at %d is there at %d", length, now, last)
			}
		}
		for range 2000 {
			bucket := monotime.Time(rand.Int64N(math.MaxInt64/2)>>rand.IntN(62)) / width * width
			check(bucket)
			check(bucket - 1)
			check(bucket + 1)
		}
	}
}
