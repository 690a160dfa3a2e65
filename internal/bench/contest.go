package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// contest is one piece of work and those who do it, each in its own way.
type contest struct {
	name     string
	parallel int           // callers at a time; 0 is 1
	slice    time.Duration // instead of the effort's, where that is shorter
	entries  []entry
}

// entry is one contestant.
type entry struct {
	name string

	// start makes everything that the work needs, so that it is not measured.
	start func() (worker, error)
}

// effort says how long is measured.
type effort struct {
	rounds int
	slice  time.Duration // of wall time, of one entry in one round
}

// run measures the contest: in each round each entry does its work for a slice,
// in a new order, so that what else the machine does meets all alike. The first
// entry is the measure of the others. An entry that fails ends the contest, since
// what it took to fail is no result.
func (c *contest) run(e effort) ([]*result, error) {
	e.slice = max(e.slice, c.slice)
	stages, err := c.start(e)
	if err == nil {
		err = c.rounds(stages, e.rounds)
	}
	var results []*result
	for _, s := range stages {
		results = append(results, s.result)
		if s.stop != nil {
			s.stop()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return results, nil
}

// start makes all entries ready, or returns those that it has made ready.
func (c *contest) start(e effort) ([]*stage, error) {
	var stages []*stage
	for _, entry := range c.entries {
		w, err := entry.start()
		if err != nil {
			return stages, fmt.Errorf("%s: %w", entry.name, err)
		}
		s := &stage{worker: w, callers: max(c.parallel, 1), result: &result{name: entry.name}}
		stages = append(stages, s)
		if err := s.calibrate(e.slice); err != nil {
			return stages, s.failed(err)
		}
	}
	return stages, nil
}

func (c *contest) rounds(stages []*stage, rounds int) error {
	order := slices.Clone(stages)
	for range rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, s := range order {
			if err := s.round(); err != nil {
				return s.failed(err)
			}
		}
		for _, s := range stages {
			s.compare(stages[0].result)
		}
	}
	var errs []error
	for _, s := range stages {
		if err := s.count(); err != nil {
			errs = append(errs, s.failed(err))
		}
	}
	return errors.Join(errs...)
}
