package resolvertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

func endedBefore(ctx context.Context, s Subject) error {
	if _, err := s.begin(0, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	sequence, err := s.sequence(ctx, s.Service)
	if err != nil {
		return err
	}
	ended, err := run(soon, func() error {
		err := leaveAt(sequence, func(discovery.Snapshot, error) bool { return false })
		if errors.Is(err, errEarly) {
			return nil // as it should
		}
		return err
	})
	if err == nil && !ended {
		err = fmt.Errorf("ranged over with an ended context, the sequence did not return within %v", soon)
	}
	return err
}

func endsWaiting(ctx context.Context, s Subject) error {
	due, err := s.begin(0, 1)
	if err != nil {
		return err
	}
	names := []string{s.Service}
	if s.Unknown != "" {
		names = append(names, s.Unknown)
	}
	for _, name := range names {
		st := s.watch(ctx, name)
		if _, err := st.until(s.Within, "something", anything); err != nil {
			st.stop()
			return err
		}
		if !st.stop() {
			return fmt.Errorf("the watch of %q, which waited for changes, did not return within %v after its context ended", name, soon)
		}
	}
	if s.Fail == nil || s.Set == nil {
		return nil
	}
	return s.endsFailing(ctx, due)
}

// endsFailing checks the end of a watch that waits for its source to heal.
func (s Subject) endsFailing(ctx context.Context, due []discovery.Endpoint) (err error) {
	st := s.watch(ctx, s.Service)
	if err := st.untilSays(s, due); err != nil {
		st.stop()
		return err
	}
	if err := s.fail(true); err != nil {
		st.stop()
		return err
	}
	defer func() { err = errors.Join(err, s.fail(false)) }()
	s.refresh(s.Service)
	st.during(s.quiet() / 2)
	if !st.stop() {
		return fmt.Errorf("the watch did not return within %v after its context ended while the source failed", soon)
	}
	return nil
}

func left(ctx context.Context, s Subject) error {
	if _, err := s.begin(0, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sequence, err := s.sequence(ctx, s.Service)
	if err != nil {
		return err
	}
	again := make(chan struct{}, 1)
	yields := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		first := true
		ended <- guard(func() error {
			sequence(func(discovery.Snapshot, error) bool {
				if first {
					first = false
					close(yields)
					return false
				}
				select {
				case again <- struct{}{}:
				default:
				}
				return false
			})
			return nil
		})
	}()
	if !within(s.Within, yields) {
		return fmt.Errorf("within %v came nothing, due a snapshot", s.Within)
	}
	late := time.After(soon)
	select {
	case err = <-ended:
	case <-late:
		err = fmt.Errorf("the sequence did not return within %v after yield had returned false", soon)
	}
	select {
	case <-again:
		return errors.New("yield was called after it had returned false, which panics in a range loop")
	default:
		return err
	}
}

func twice(ctx context.Context, s Subject) error {
	due, err := s.begin(0, 1)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sequence, err := s.sequence(ctx, s.Service)
	if err != nil {
		return err
	}
	for _, nth := range []string{"first", "second"} {
		ended, err := run(s.Within, func() error {
			return leaveAt(sequence, func(snapshot discovery.Snapshot, err error) bool { return err == nil && s.says(snapshot, due) })
		})
		if err == nil && !ended {
			err = fmt.Errorf("nothing more within %v", s.Within)
		}
		if err != nil {
			return fmt.Errorf("ranged over for the %s time: %w, due %s", nth, err, describe(discovery.Snapshot{Endpoints: due}))
		}
	}
	return nil
}

// leaveAt leaves the sequence where ok is true, and forgives it a yield after
// that: it is for another rule.
func leaveAt(sequence iter.Seq2[discovery.Snapshot, error], ok func(discovery.Snapshot, error) bool) error {
	found, yields := false, 0
	sequence(func(s discovery.Snapshot, err error) bool {
		yields++
		found = found || ok(s, err)
		return !found && yields < maxEvents
	})
	switch {
	case found:
		return nil
	case yields >= maxEvents:
		return errEndless
	}
	return errEarly
}

func watchReturns(ctx context.Context, s Subject) error {
	if _, err := s.begin(0, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, err := run(soon, func() error {
		if s.Resolver.Watch(ctx, s.Service) == nil {
			return errNil
		}
		return nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("the call of Watch did not return within %v", soon)
	}
	return err
}

// sequence is what Watch returns, however long it takes: that is for another rule.
func (s Subject) sequence(ctx context.Context, service string) (sequence iter.Seq2[discovery.Snapshot, error], err error) {
	made := make(chan iter.Seq2[discovery.Snapshot, error], 1)
	ended, err := run(s.Within, func() error {
		made <- s.Resolver.Watch(ctx, service)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !ended:
		return nil, fmt.Errorf("the call of Watch did not return within %v", s.Within)
	}
	if sequence = <-made; sequence == nil {
		return nil, errNil
	}
	return sequence, nil
}

const refreshes = 1000

func refreshReturns(ctx context.Context, s Subject) error {
	due, err := s.begin(0, 1)
	if err != nil {
		return err
	}
	if err := s.refreshOften("before any watch"); err != nil {
		return err
	}
	st := s.watch(ctx, s.Service)
	defer st.stop()
	if err := st.untilSays(s, due); err != nil {
		return err
	}
	return s.refreshOften("while it watched")
}

func (s Subject) refreshOften(when string) error {
	r := s.Resolver.(discovery.Refresher)
	ended, err := run(soon, func() error {
		for range refreshes {
			for _, name := range []string{s.Service, s.Unknown, ""} {
				r.Refresh(name)
			}
		}
		return nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("%d calls of Refresh %s did not return within %v", 3*refreshes, when, soon)
	}
	return err
}
