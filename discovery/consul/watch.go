package consul

import (
	"context"
	"errors"
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
	failures failures
	warner   warner

	index   uint64              // from which to wait for news; 0: ask without waiting
	known   uint64              // of the last answer obeyed; it outlives faults
	confirm bool                // the next query that does not wait is the leader's to answer
	flight  *flight             // the waiting query under way, or nil
	glance  *flight             // one beside it that does not wait, or nil
	looked  time.Time           // when the last query that did not wait began
	again   time.Time           // when one must begin beside the waiting query, or zero
	lostAt  uint64              // the index of the last answer of such a registry
	lost    time.Time           // since when the registry seems to have lost its state, or zero
	last    *discovery.Snapshot // what was yielded last, or nil
	failed  bool                // an error was yielded since
	seen    bool                // the service has had entries
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
		if ctx.Err() != nil || w.resolver.closed.Err() != nil {
			return
		}
		if err != nil {
			w.failed = true
			if !yield(discovery.Snapshot{}, failure(w.target, err)) {
				return
			}
			w.rest(ctx, err)
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
	switch {
	case err == nil && s != nil:
		w.obey(a)
	case errors.Is(err, errLost):
		w.await(a.index)
		w.again = w.lost.Add(w.resolver.lostFor)
	case err != nil && w.flight != nil:
		// What failed was beside the waiting query, which goes on and may say
		// for long neither that all is well nor that it is not.
		w.index = max(w.flight.asked, w.known)
		w.again = time.Now().Add(w.failures.backoff(err))
	default:
		// An index that outlives a fault can hide what happened meanwhile.
		w.index = 0
	}
	return s, err
}

// obey takes a for the truth.
func (w *watch) obey(a answer) {
	w.await(a.index)
	w.known = a.index
	w.seen = w.seen || a.entries.total > 0
	w.failures, w.lost, w.again = failures{}, time.Time{}, time.Time{}
	w.warner.warn(a.entries.problems)
}

// await makes index the one from which to wait for news.
func (w *watch) await(index uint64) {
	w.index = index
	if w.flight != nil && w.flight.asked > index {
		w.drop() // it waits for an index that may never come
	}
}

// ask returns the answer to the waiting query, or to one that does not wait
// if there is no index yet, Refresh was called or it is time to look again. The
// waiting query goes on then: the agent would not notice its end, and a new one
// would double its work.
func (w *watch) ask(ctx context.Context) (answer, error) {
	if w.index == 0 {
		return w.look(ctx)
	}
	if w.flight == nil {
		if err := w.pace.wait(ctx); err != nil {
			return answer{}, err
		}
		w.flight = w.resolver.fly(ctx, w.target, question{index: w.index})
	}
	alarm := w.alarm()
	for {
		select {
		case <-w.flight.done:
			a, err := w.flight.answer, w.flight.err
			w.drop()
			w.pace.arrived(a.entries.size)
			return a, err
		case <-w.glance.ended():
			a, err := w.glance.answer, w.glance.err
			w.glance = nil
			w.pace.arrived(a.entries.size)
			return a, err
		case <-w.wake:
			if w.mayRefresh() {
				w.peek(ctx)
			}
		case <-alarm:
			if w.glance == nil && !w.peek(ctx) {
				alarm = time.After(paceEvery)
			}
		}
	}
}

// alarm receives at w.again.
func (w *watch) alarm() <-chan time.Time {
	if w.again.IsZero() {
		return nil
	}
	return time.After(time.Until(w.again))
}

// peek begins a query beside the waiting one, unless it is too early. While the
// registry seems to have lost its state only the leader's word is of use.
func (w *watch) peek(ctx context.Context) bool {
	if !w.pace.free() {
		return false
	}
	w.looked = time.Now()
	w.glance = w.resolver.fly(ctx, w.target, question{leader: !w.lost.IsZero()})
	return true
}

// look asks without waiting.
func (w *watch) look(ctx context.Context) (answer, error) {
	if w.flight != nil && w.flight.landed() {
		w.drop() // older than what comes now
	}
	if err := w.pace.wait(ctx); err != nil {
		return answer{}, err
	}
	q := question{leader: w.confirm}
	w.looked, w.confirm = time.Now(), false
	a, err := w.resolver.query(ctx, w.target, q)
	w.pace.arrived(a.entries.size)
	return a, err
}

func (w *watch) mayRefresh() bool { return w.glance == nil && time.Since(w.looked) >= refreshEvery }

// judge returns the snapshot that a stands for, nil if a query that does not
// wait must confirm it, or an error if it is not to be obeyed.
//
// Any server answers a query of ours, also one that has just come back and
// knows but what is on its disk. So what could be its ignorance, an empty answer
// or one older than what is known, is the leader's to confirm. That holds
// for an older one that says what is known, too: its index would let other old
// sets pass.
func (w *watch) judge(ctx context.Context, a answer) (*discovery.Snapshot, error) {
	if a.unreliable(w.index) {
		return nil, nil
	}
	s := discovery.Snapshot{Endpoints: a.entries.endpoints, Unknown: !w.seen && a.entries.total == 0}
	same := w.last != nil && w.last.Equal(s)
	older := a.asked == 0 && a.index < w.known
	switch {
	case !a.leader && (older || !same && a.entries.total == 0):
		w.confirm = true
		return nil, nil
	case same:
		return &s, nil
	case a.entries.total > 0:
		return &s, nil
	}
	if err := w.doubt(ctx, a); err != nil {
		return nil, err
	}
	return &s, nil
}

// news reports whether s says other than the last snapshot yielded, or ends an
// error, and remembers it if so. Consul's index also moves for what nobody here
// uses, such as a check's output.
func (w *watch) news(s *discovery.Snapshot) bool {
	if s == nil {
		return false
	}
	changed := w.last == nil || !w.last.Equal(*s)
	healed := w.failed
	w.failed = false
	if changed {
		w.last = s
		w.pace.refund()
	}
	return changed || healed
}

// rest waits after a failure; Refresh shortens it, to a second after the last
// look. There is no need to while a waiting query goes on, or may begin: see
// again.
func (w *watch) rest(ctx context.Context, err error) {
	if w.index > 0 {
		return
	}
	due := time.Now().Add(w.failures.backoff(err))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-w.wake:
			timer.Reset(min(time.Until(due), time.Until(w.looked.Add(refreshEvery))))
		}
	}
}

// drop ends the queries under way, if there are any.
func (w *watch) drop() {
	w.flight.land()
	w.glance.land()
	w.flight, w.glance = nil, nil
}
