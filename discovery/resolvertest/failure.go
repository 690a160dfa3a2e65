package resolvertest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-go/fairlead/discovery"
)

func lastSet(ctx context.Context, s Subject) error {
	return s.failing(ctx, func(set []discovery.Endpoint, streams []*stream) error {
		for _, st := range streams {
			for _, e := range st.during(s.quiet()) {
				if !e.failed() && !s.says(e.copy, set) {
					return fmt.Errorf("while the source failed came %v, due nothing but errors and %s", e, describe(discovery.Snapshot{Endpoints: set}))
				}
			}
		}
		return nil
	})
}

func recovery(ctx context.Context, s Subject) error {
	return s.failing(ctx, func(set []discovery.Endpoint, streams []*stream) error {
		for _, st := range streams {
			st.during(s.quiet() / 2)
		}
		if err := s.fail(false); err != nil {
			return err
		}
		healed := s.at(1, 2)
		if err := s.set(healed); err != nil {
			return err
		}
		s.refresh(s.Service)
		for i, st := range streams {
			if _, err := st.untilBecomes(s, set, healed); err != nil {
				return fmt.Errorf("a watch begun %s the failure: %w", []string{"before", "during"}[i], err)
			}
		}
		return nil
	})
}

// saidAgain asks nothing of a watch that did not notice the failure.
func saidAgain(ctx context.Context, s Subject) error {
	return s.failing(ctx, func(set []discovery.Endpoint, streams []*stream) error {
		before := streams[0]
		if !slices.ContainsFunc(before.during(s.quiet()), event.failed) {
			return nil
		}
		if err := s.fail(false); err != nil {
			return err
		}
		s.refresh(s.Service)
		_, err := before.untilBecomes(s, set, set)
		return err
	})
}

// failing calls f while the source fails, with what it said before, and with two
// watches: one begun before the failure, which has yielded that, and one begun
// during it.
func (s Subject) failing(ctx context.Context, f func(set []discovery.Endpoint, streams []*stream) error) (err error) {
	set := s.at(0, 1)
	before, err := s.watchSet(ctx, set)
	if err != nil {
		return err
	}
	defer before.stop()
	if err := s.fail(true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.fail(false)) }()
	s.refresh(s.Service)
	during := s.watch(ctx, s.Service)
	defer during.stop()
	return f(set, []*stream{before, during})
}

// refresh asks the Resolver to look again, without being held up by it.
func (s Subject) refresh(service string) {
	if r, ok := s.Resolver.(discovery.Refresher); ok {
		_, _ = run(soon, func() error { r.Refresh(service); return nil })
	}
}
