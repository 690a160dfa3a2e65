package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// contest is one piece of work and those who do it, each in its own way.
type contest struct {
	name     string
	parallel int // callers at a time
	entries  []entry
}

// entry is one contestant.
type entry struct {
	name string

	// start makes everything that the work needs, so that it is not measured.
	start func() (worker, error)
}

// worker does the work.
type worker struct {
	// work does n pieces of it, and is called by as many goroutines at once as the
	// contest has callers.
	work func(n int) error

	// stop ends what start began; nil means nothing to end.
	stop func()

	// helper is what the work costs another process, in CPU time so far; nil where
	// there is none.
	helper func() (time.Duration, error)
}

// result is what a contest saw of one entry.
type result struct {
	name          string
	cpu, wall     []float64 // nanoseconds for one piece of work, by round
	ratio         []float64 // of CPU time, to the first entry's of the same round
	allocs, bytes float64   // for one piece of work
	err           error
}

// effort says how long is measured.
type effort struct {
	rounds int
	slice  time.Duration // of wall time, of one entry in one round
}

// stage is an entry that has been made ready.
type stage struct {
	worker
	n int // pieces of work for one slice
	*result
}

// run measures the contest: in each round each entry does its work for a slice,
// in a new order, so that what else the machine does meets all alike. The first
// entry is the measure of the others. An entry that fails is out, and says why.
func (c *contest) run(e effort) []*result {
	var stages []*stage
	var results []*result
	for _, entry := range c.entries {
		s := &stage{result: &result{name: entry.name}}
		results = append(results, s.result)
		if s.worker, s.err = entry.start(); s.err != nil {
			continue
		}
		if s.err = s.calibrate(c.callers(), e.slice); s.err != nil {
			s.stop()
			continue
		}
		stages = append(stages, s)
	}
	order := slices.Clone(stages)
	for range e.rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, s := range order {
			if s.err == nil {
				s.err = s.round(c.callers())
			}
		}
		for _, s := range stages {
			if base := results[0]; s.err == nil && base.err == nil {
				s.ratio = append(s.ratio, s.cpu[len(s.cpu)-1]/base.cpu[len(base.cpu)-1])
			}
		}
	}
	for _, s := range stages {
		if s.err == nil {
			s.err = s.count(c.callers())
		}
		s.stop()
	}
	return results
}

func (c *contest) callers() int { return max(c.parallel, 1) }

// calibrate finds how much work fills a slice.
func (s *stage) calibrate(callers int, slice time.Duration) error {
	if s.stop == nil {
		s.stop = func() {}
	}
	for s.n = callers; ; s.n *= 2 {
		began := time.Now()
		if err := s.do(callers, s.n); err != nil {
			return err
		}
		if took := time.Since(began); took >= slice/4 || s.n >= 1<<30 {
			s.n = max(int(float64(s.n)*float64(slice)/float64(took)), callers)
			return nil
		}
	}
}

// do has n pieces of work done by so many callers.
func (s *stage) do(callers, n int) error {
	if callers == 1 {
		return s.work(n)
	}
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		wg.Go(func() { errs[i] = s.work((n + i) / callers) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// round measures one slice.
func (s *stage) round(callers int) error {
	helped, err := s.helped()
	if err != nil {
		return err
	}
	began, spent := time.Now(), cpuTime()
	if err := s.do(callers, s.n); err != nil {
		return err
	}
	spent, wall := cpuTime()-spent, time.Since(began)
	after, err := s.helped()
	if err != nil {
		return err
	}
	s.cpu = append(s.cpu, float64(spent+after-helped)/float64(s.n))
	s.wall = append(s.wall, float64(wall)/float64(s.n))
	return nil
}

func (s *stage) helped() (time.Duration, error) {
	if s.helper == nil {
		return 0, nil
	}
	return s.helper()
}

// count counts what the work allocates, apart from the rounds: reading the counters
// stops the world.
func (s *stage) count(callers int) error {
	n := max(min(s.n, 10_000), callers)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.do(callers, n); err != nil {
		return err
	}
	runtime.ReadMemStats(&after)
	s.allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
	s.bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	return nil
}

// median is the middle of values, which are not changed; 0 of none.
func median(values []float64) float64 { return quantile(values, 0.5) }

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func (r *result) String() string {
	if r.err != nil {
		return fmt.Sprintf("%s: %v", r.name, r.err)
	}
	return fmt.Sprintf("%s: %.1f ns, %.2f x, %.0f allocations", r.name, median(r.cpu), median(r.ratio), r.allocs)
}
