package discovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/wake"
)

// mergeWait is how long sources that are silent hold up the first endpoints.
const mergeWait = time.Second

// Merged is a Resolver over the union of several others. Make one with [Merge].
// All methods are safe for concurrent use.
type Merged struct {
	resolvers []Resolver
	wakers    wake.Set[string]
}

var (
	_ Resolver  = (*Merged)(nil)
	_ Refresher = (*Merged)(nil)
)

// Merge returns a Resolver that yields the endpoints of all resolvers together.
// Of those with the same identity the one of the first resolver counts: that is
// the ID, so a server which two sources call by different IDs counts twice.
// A service is unknown where all say so.
func Merge(resolvers ...Resolver) *Merged {
	return &Merged{resolvers: slices.Clone(resolvers)}
}

// Watch yields the union, once every resolver has spoken and then whenever it
// changes. A resolver that stays silent does not hold up the others' endpoints
// for more than 1 s.
//
// The errors of each are passed on, and its last set stands. A union without
// endpoints is yielded only when every resolver has said what it knows, so that
// nobody's error makes a service look empty. A resolver's final error means that
// the service is unknown to it; where it is unknown to all, and each gave a
// reason, the reasons are the final error of the union. A sequence
// that ends early is watched again after a random time of up to 5 ms, doubling to
// 5 s.
//
// A goroutine runs for each resolver, and ends before the sequence does.
func (m *Merged) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		if len(m.resolvers) == 0 {
			refuse(ctx, Snapshot{}, errNothingToMerge, yield)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		var sources sync.WaitGroup
		defer sources.Wait()
		defer cancel()
		said := make(chan statement)
		for i, r := range m.resolvers {
			woken, remove := m.wakers.Add(service)
			sources.Go(func() {
				defer remove()
				follow(ctx, r, service, woken, teller(ctx, said, i))
			})
		}
		w := mergeWatch{sources: make([]source, len(m.resolvers)), yield: yield}
		w.run(ctx, said)
	}
}

// Refresh is passed on to all, and cuts a back-off short that has lasted a second.
func (m *Merged) Refresh(service string) {
	for _, r := range m.resolvers {
		refreshInner(r, service)
	}
	m.wakers.Wake(service)
}

var errNothingToMerge = errors.New("discovery: Merge has no resolvers, want one at least")

// Validate returns an error for each resolver that is nil, and what the
// resolvers' own Validate says.
func (m *Merged) Validate() error {
	if len(m.resolvers) == 0 {
		return errNothingToMerge
	}
	var errs []error
	for i, r := range m.resolvers {
		errs = append(errs, validateInner(fmt.Sprintf("Merge[%d]", i), r))
	}
	return errors.Join(errs...)
}

// source is what one resolver of a Merged has said.
type source struct {
	spoken   bool // at all, be it an error
	known    bool // what it knows was said
	failing  bool // its last word was an error
	snapshot Snapshot
	err      error // why the service is unknown to it
}

// mergeWatch is the state of one sequence of a Merged.
type mergeWatch struct {
	sources []source
	yield   func(Snapshot, error) bool
	last    told
	failed  bool // a source, and not all are well since
	waited  bool // long enough for those that are silent
}

func (w *mergeWatch) run(ctx context.Context, said <-chan statement) {
	var late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-said:
			if !w.heed(s) {
				return
			}
		case <-late:
			w.waited = true
		}
		if u, due := w.union(); due && w.last.news(u.snapshot, u.err) && !w.yield(u.snapshot, u.err) {
			return
		}
		if late == nil && w.holdingUp() {
			timer := time.NewTimer(mergeWait)
			defer timer.Stop()
			late = timer.C
		}
	}
}

// heed takes in what a source said, and passes on what went wrong.
func (w *mergeWatch) heed(s statement) bool {
	from := &w.sources[s.source]
	from.spoken = true
	if from.failing = s.failed(); from.failing {
		w.failed = true
		return w.yield(Snapshot{}, s.err)
	}
	if w.failed && !slices.ContainsFunc(w.sources, func(s source) bool { return s.failing }) {
		w.failed = false
		w.last.doubt()
	}
	from.known, from.snapshot, from.err = true, s.snapshot, s.err
	return true
}

// union returns what the sources say together, and whether it is time to say it.
func (w *mergeWatch) union() (u statement, due bool) {
	u.snapshot = Snapshot{Endpoints: w.endpoints(), Unknown: true}
	known, spoken := true, true
	var reasons []error
	for _, from := range w.sources {
		known = known && from.known
		spoken = spoken && from.spoken
		u.snapshot.Unknown = u.snapshot.Unknown && from.snapshot.Unknown
		if from.err != nil {
			reasons = append(reasons, from.err)
		}
	}
	if u.snapshot.Unknown && len(reasons) == len(w.sources) {
		u.err = errors.Join(reasons...)
	}
	return u, known || len(u.snapshot.Endpoints) > 0 && (spoken || w.waited)
}

// endpoints are those of all sources, each identity once.
func (w *mergeWatch) endpoints() []Endpoint {
	var all []Endpoint
	seen := make(map[string]bool)
	for _, from := range w.sources {
		for _, e := range from.snapshot.Endpoints {
			if id := e.Identity(); !seen[id] {
				seen[id] = true
				all = append(all, e)
			}
		}
	}
	return all
}

// holdingUp reports whether endpoints are known and not yielded because
// somebody is silent.
func (w *mergeWatch) holdingUp() bool {
	return !w.last.some && slices.ContainsFunc(w.sources, func(s source) bool { return len(s.snapshot.Endpoints) > 0 })
}
