package consul

import (
	"context"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// refreshEvery is how often a watch obeys Refresh.
const refreshEvery = time.Second

// watch is the state of one Watch. It belongs to the goroutine that ranges
// over it.
type watch struct {
	resolver *Resolver
	target   target
	wake     <-chan struct{}
	pace     pace
	warner   warner

	index    uint64              // from which to wait for news; 0: ask without waiting
	flight   *flight             // the waiting query under way, or nil
	looked   time.Time           // when the last query that did not wait began
	failures int                 // in a row
	last     *discovery.Snapshot // what was yielded last, or nil
	seen     bool                // the service has had entries
}

func newWatch(r *Resolver, t target, wake <-chan struct{}) *watch {
	return &watch{resolver: r, target: t, wake: wake, warner: warner{logger: r.config.logger(), target: t}}
}

// run is the loop of blocking queries that Consul's documentation describes
// (API, "Blocking Queries", implementation details), with the guards that
// experience adds: see ask, judge, doubt and pace.
func (w *watch) run(ctx context.Context, yield func(discovery.Snapshot, error) bool) {
	defer w.drop()
	for {
		s, err := w.next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if !yield(discovery.Snapshot{}, failure(w.target, err)) {
				return
			}
			w.rest(ctx)
			continue
		}
		if w.news(s) && !yield(*s, nil) {
			return
		}
	}
}

// next asks once and returns the snapshot that the answer stands for, or nil
// if it settles nothing and another query must.
func (w *watch) next(ctx context.Context) (*discovery.Snapshot, error) {
	a, err := w.ask(ctx)
	var s *discovery.Snapshot
	if err == nil {
		s, err = w.judge(ctx, a)
	}
	if err != nil || s == nil {
		// An index that outlives a fault can hide what happened meanwhile.
		w.index = 0
		return nil, err
	}
	w.index, w.failures = a.index, 0
	return s, nil
}

// ask returns the answer to the waiting query, or to one that does not wait
// if there is no index yet or Refresh was called. The waiting query goes on
// then: the agent would not notice its end, and a new one would double its work.
func (w *watch) ask(ctx context.Context) (answer, error) {
	if w.index == 0 {
		return w.look(ctx)
	}
	if w.flight == nil {
		if err := w.pace.wait(ctx); err != nil {
			return answer{}, err
		}
		w.flight = w.resolver.fly(ctx, w.target, w.index)
	}
	for {
		select {
		case <-w.flight.done:
			a, err := w.flight.answer, w.flight.err
			w.drop()
			w.pace.arrived(a.entries.size)
			return a, err
		case <-w.wake:
			if time.Since(w.looked) >= refreshEvery {
				return w.look(ctx)
			}
		}
	}
}

// look asks without waiting.
func (w *watch) look(ctx context.Context) (answer, error) {
	if w.flight != nil && w.flight.landed() {
		w.drop() // older than what comes now
	}
	if err := w.pace.wait(ctx); err != nil {
		return answer{}, err
	}
	w.looked = time.Now()
	a, err := w.resolver.query(ctx, w.target, 0)
	if err != nil {
		return answer{}, err
	}
	w.pace.arrived(a.entries.size)
	if w.flight != nil && w.flight.asked > a.index {
		w.drop() // it waits for an index that may never come
	}
	return a, nil
}

// judge returns the snapshot that a stands for, nil if a query that does not
// wait must confirm it, or an error if it is not to be obeyed.
func (w *watch) judge(ctx context.Context, a answer) (*discovery.Snapshot, error) {
	if a.unreliable(w.index) {
		return nil, nil
	}
	s := w.snapshot(a.entries)
	if a.entries.total > 0 || w.last != nil && equal(*w.last, s) {
		return &s, nil
	}
	if a.asked > 0 {
		return nil, nil
	}
	if err := w.resolver.doubt(ctx, w.target, a); err != nil {
		return nil, err
	}
	return &s, nil
}

func (w *watch) snapshot(found entries) discovery.Snapshot {
	w.warner.warn(found.problems)
	w.seen = w.seen || found.total > 0
	return discovery.Snapshot{Endpoints: found.endpoints, Unknown: !w.seen}
}

// news reports whether s says other than the last snapshot yielded, and
// remembers it if so. Consul's index also moves for what nobody here uses, such
// as a check's output.
func (w *watch) news(s *discovery.Snapshot) bool {
	if s == nil || w.last != nil && equal(*w.last, *s) {
		return false
	}
	w.last = s
	w.pace.refund()
	return true
}

func equal(a, b discovery.Snapshot) bool {
	return a.Unknown == b.Unknown && slices.EqualFunc(a.Endpoints, b.Endpoints, discovery.Endpoint.Equal)
}

// rest waits after a failure; Refresh shortens it.
func (w *watch) rest(ctx context.Context) {
	w.failures++
	timer := time.NewTimer(backoff(w.failures))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-w.wake:
			if time.Since(w.looked) >= refreshEvery {
				return
			}
		}
	}
}

// drop ends the waiting query, if there is one.
func (w *watch) drop() {
	if w.flight != nil {
		w.flight.land()
		w.flight = nil
	}
}
