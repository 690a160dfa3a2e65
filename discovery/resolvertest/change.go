package resolvertest

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/fairlead-go/fairlead/discovery"
)

func firstSnapshot(ctx context.Context, s Subject) error {
	due, err := s.begin(0, 1, 2)
	if err != nil {
		return err
	}
	st := s.watch(ctx, s.Service)
	defer st.stop()
	what := describe(discovery.Snapshot{Endpoints: due})
	first, err := st.until(s.Within, what, func(e event) bool { return !e.failed() })
	if err != nil {
		return err
	}
	if first.err != nil || !s.says(first.copy, due) {
		return fmt.Errorf("the first snapshot is %v, due %s", first, what)
	}
	if err := (discovery.Services{"first": first.copy.Endpoints}).Validate(); err != nil {
		return fmt.Errorf("the first snapshot is %v: %w", first, err)
	}
	return nil
}

func join(ctx context.Context, s Subject) error {
	return follows(ctx, s, s.at(0, 1), s.at(0, 1, 2))
}

func leave(ctx context.Context, s Subject) error {
	return follows(ctx, s, s.at(0, 1, 2), s.at(0, 2))
}

func replacement(ctx context.Context, s Subject) error {
	return follows(ctx, s, s.at(0, 1), s.at(1, 2))
}

// watchSet sets endpoints, and returns a watch that has yielded them.
func (s Subject) watchSet(ctx context.Context, endpoints []discovery.Endpoint) (*stream, error) {
	if err := s.set(endpoints); err != nil {
		return nil, err
	}
	st := s.watch(ctx, s.Service)
	if err := st.untilSays(s, endpoints); err != nil {
		st.stop()
		return nil, err
	}
	return st, nil
}

// follows checks that the second set is yielded after the first, and that what
// is in both of them is in all that comes in between.
func follows(ctx context.Context, s Subject, first, second []discovery.Endpoint) error {
	st, err := s.watchSet(ctx, first)
	if err != nil {
		return err
	}
	defer st.stop()
	if err := s.set(second); err != nil {
		return err
	}
	_, err = st.untilBecomes(s, first, second)
	return err
}

func reweigh(ctx context.Context, s Subject) error {
	first := s.at(0, 1)
	if err := s.set(first); err != nil {
		return err
	}
	st := s.watch(ctx, s.Service)
	defer st.stop()
	what := describe(discovery.Snapshot{Endpoints: first})
	before, err := st.until(s.Within, what, func(e event) bool { return s.says(e.copy, first) })
	if err != nil {
		return err
	}
	second := []discovery.Endpoint{heavier(first[0]), first[1]}
	if err := s.set(second); err != nil {
		return err
	}
	after, err := st.untilBecomes(s, first, second)
	if err != nil {
		return err
	}
	if was, is := identities(before.copy), identities(after.copy); !slices.Equal(was, is) {
		return fmt.Errorf("a new weight made of the identities %q came %q, due the same", was, is)
	}
	return nil
}

func identities(s discovery.Snapshot) []string {
	var ids []string
	for _, e := range s.Endpoints {
		ids = append(ids, e.Identity())
	}
	slices.Sort(ids)
	return ids
}

func equal(ctx context.Context, s Subject) error {
	st, err := s.watchSet(ctx, s.at(0, 1))
	if err != nil {
		return err
	}
	defer st.stop()
	for _, same := range [][]discovery.Endpoint{s.at(0, 1), s.at(1, 0)} {
		if err := s.set(same); err != nil {
			return err
		}
		s.refresh(s.Service)
		st.during(s.quiet())
	}
	return st.repeats()
}

// repeats returns an error if two snapshots that follow each other are equal.
func (st *stream) repeats() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	var last *event
	for _, e := range st.events {
		if e.failed() {
			continue
		}
		if last != nil && last.err == nil && e.err == nil && last.copy.Equal(e.copy) {
			return fmt.Errorf("%v came twice in a row, due nothing until it changes", e)
		}
		last = &e
	}
	return nil
}

// immutable does not ask whether the changes come: that is for other rules.
func immutable(ctx context.Context, s Subject) error {
	st := s.watch(ctx, s.Service)
	for _, set := range [][]discovery.Endpoint{
		s.at(0, 1), {heavier(s.Endpoints[0]), s.Endpoints[1]}, s.at(1, 0, 2), s.at(2), s.at(1, 2), {},
	} {
		if err := s.set(set); err != nil {
			st.stop()
			return err
		}
		_ = st.untilSays(s, set)
	}
	if !st.stop() {
		return nil // and so is that it ends
	}
	for i, e := range st.events {
		if !reflect.DeepEqual(e.came, e.copy) {
			return fmt.Errorf("snapshot %d was %s when it was yielded and is %s now, due no change", i+1, describe(e.copy), describe(e.came))
		}
	}
	return nil
}

func empty(ctx context.Context, s Subject) error {
	st, err := s.watchSet(ctx, s.at(0, 1))
	if err != nil {
		return err
	}
	defer st.stop()
	if err := s.set(nil); err != nil {
		return err
	}
	e, err := st.until(s.Within, "[empty]", func(e event) bool { return !e.failed() && len(e.copy.Endpoints) == 0 })
	if err == nil && (e.copy.Unknown || e.err != nil) {
		err = fmt.Errorf("when all had left came %v, due [empty]", e)
	}
	return err
}

func neverHeard(ctx context.Context, s Subject) error {
	if _, err := s.begin(0, 1); err != nil {
		return err
	}
	st := s.watch(ctx, s.Unknown)
	defer st.stop()
	e, err := st.until(s.Within, "[unknown]", func(e event) bool { return !e.failed() })
	if err != nil {
		return err
	}
	if !e.copy.Unknown || len(e.copy.Endpoints) > 0 {
		return fmt.Errorf("of %q came %v, due [unknown]", s.Unknown, e)
	}
	return nil
}
