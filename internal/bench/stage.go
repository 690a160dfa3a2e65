package main

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"
)

// stage is an entry that has been made ready.
type stage struct {
	worker
	callers int
	n       int // pieces of work for one slice
	*result
}

func (s *stage) failed(err error) error { return fmt.Errorf("%s: %w", s.name, err) }

// calibrate finds how much work fills a slice. It believes the faster of two looks: in
// one of them the machine may have had something else to do.
func (s *stage) calibrate(slice time.Duration) error {
	for s.n = s.callers; ; s.n *= 2 {
		took := time.Duration(math.MaxInt64)
		for range 2 {
			began := time.Now()
			if err := s.do(s.n); err != nil {
				return err
			}
			if took = min(took, time.Since(began)); took < slice/4 {
				break
			}
		}
		if took >= slice/4 || s.n >= 1<<30 {
			s.n = max(int(float64(s.n)*float64(slice)/float64(took)), s.callers)
			return nil
		}
	}
}

// do has n pieces of work done by all callers.
func (s *stage) do(n int) error {
	if s.callers == 1 {
		return s.work(n)
	}
	var wg sync.WaitGroup
	errs := make([]error, s.callers)
	for i := range s.callers {
		wg.Go(func() { errs[i] = s.work((n + i) / s.callers) })
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
func (s *stage) round() error {
	if s.took != nil {
		s.took.take()
	}
	helped, err := s.helped()
	if err != nil {
		return err
	}
	spent := cpuTime()
	if err := s.do(s.n); err != nil {
		return err
	}
	spent = cpuTime() - spent
	after, err := s.helped()
	if err != nil {
		return err
	}
	s.cpu = append(s.cpu, float64(spent+after-helped)/float64(s.n))
	if s.took != nil {
		s.p50 = append(s.p50, s.took.take())
	}
	return nil
}

// helped is what the work has cost another process so far.
func (s *stage) helped() (time.Duration, error) {
	if s.helper == nil {
		return 0, nil
	}
	return s.helper()
}

// count counts what the work allocates, apart from the rounds: reading the counters
// stops the world.
func (s *stage) count() error {
	n := max(min(s.n, 10_000), s.callers)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.do(n); err != nil {
		return err
	}
	runtime.ReadMemStats(&after)
	s.allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
	s.bytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(n)
	return nil
}
