package resolvertest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/discovery"
)

const watches = 8 // at once

func many(ctx context.Context, s Subject) error {
	due, err := s.begin(0, 1)
	if err != nil {
		return err
	}
	known, others := s.watchMany(ctx)
	defer stopAll(append(known, others...))
	check := func() error {
		for i, st := range known {
			if err := st.untilSays(s, due); err != nil {
				return fmt.Errorf("watch %d of %d at once: %w", i+1, watches, err)
			}
		}
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	for _, st := range others {
		if _, err := st.until(s.Within, "something", anything); err != nil {
			return fmt.Errorf("a watch of %q beside %d of %q: %w", s.Unknown, watches, s.Service, err)
		}
	}
	if s.Set == nil {
		return nil
	}
	due = s.at(1, 2)
	if err := s.set(due); err != nil {
		return err
	}
	return check()
}

// watchMany begins many watches, half as many of an unknown name among them.
func (s Subject) watchMany(ctx context.Context) (known, others []*stream) {
	for i := range watches {
		known = append(known, s.watch(ctx, s.Service))
		if s.Unknown != "" && i%2 == 0 {
			others = append(others, s.watch(ctx, s.Unknown))
		}
	}
	return known, others
}

// stopAll ends the streams and reports whether all ended soon.
func stopAll(streams []*stream) bool {
	all := true
	for _, st := range streams {
		st.cancel()
	}
	for _, st := range streams {
		all = st.stop() && all
	}
	return all
}

func goroutines(ctx context.Context, s Subject) error {
	before := goleak.IgnoreCurrent()
	due, err := s.begin(0, 1)
	if err != nil {
		return err
	}
	if ended, err := s.watchAndEnd(ctx, due); err != nil || !ended {
		return err // that it ends is for another rule
	}
	if s.Close != nil {
		if err := s.growing(ctx, due); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return fmt.Errorf("cannot be tested: Subject.Close: %w", err)
		}
	}
	if err := goleak.Find(before); err != nil {
		return fmt.Errorf("after all watches had ended: %w", err)
	}
	return nil
}

// watchAndEnd runs many watches, leaves one at its first yield, and reports
// whether all ended.
func (s Subject) watchAndEnd(ctx context.Context, due []discovery.Endpoint) (ended bool, err error) {
	known, others := s.watchMany(ctx)
	for _, st := range known {
		_ = st.untilSays(s, due) // that it comes is for another rule
	}
	ended = stopAll(append(known, others...))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sequence, err := s.sequence(ctx, s.Service)
	if err != nil {
		return false, err
	}
	left, _ := run(s.Within, func() error {
		return leaveAt(sequence, func(discovery.Snapshot, error) bool { return true })
	})
	return ended && left, nil
}

// growing checks that what stays behind does not grow with each watch, where
// something may stay until Close.
func (s Subject) growing(ctx context.Context, due []discovery.Endpoint) error {
	before := byCreator()
	if ended, err := s.watchAndEnd(ctx, due); err != nil || !ended {
		return err
	}
	var err error
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if err = grown(before, byCreator()); err == nil {
			return nil
		}
		time.Sleep(wait)
	}
	return err
}

func grown(before, after map[string]int) error {
	var errs []error
	for creator, n := range after {
		if more := n - before[creator]; more >= watches {
			errs = append(errs, fmt.Errorf("after %d watches had ended, %d goroutines more ran than before, %s; due none for each watch", watches, more, creator))
		}
	}
	return errors.Join(errs...)
}

// byCreator counts the goroutines by the function that started them.
func byCreator() map[string]int {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	counts := make(map[string]int)
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if i := strings.LastIndex(stack, "created by "); i >= 0 {
			creator, _, _ := strings.Cut(stack[i:], " in goroutine")
			counts[creator]++
		}
	}
	return counts
}
