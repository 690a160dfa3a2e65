package resolvertest_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

type (
	snapshot = discovery.Snapshot
	sequence = iter.Seq2[discovery.Snapshot, error]
	yield    = func(discovery.Snapshot, error) bool
)

// watchFunc is a Resolver.
type watchFunc func(ctx context.Context, service string) sequence

func (f watchFunc) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	return f(ctx, service)
}

// refresher is a Resolver with a Refresh of its own.
type refresher struct {
	discovery.Resolver
	refresh func()
}

func (r refresher) Refresh(string) { r.refresh() }

// broken is a Resolver that breaks a rule, and those that report it.
type broken struct {
	name  string
	wrap  func(inner discovery.Resolver, release <-chan struct{}) discovery.Resolver
	rules []string
	says  string // in what each of them reports
	same  func(a, b discovery.Endpoint) bool
}

// edits breaks what is yielded: edit is given what comes, what came before it
// and was not left out, and what passes it on.
func edits(edit func(yield yield, last *snapshot, s snapshot, err error) bool) func(discovery.Resolver, <-chan struct{}) discovery.Resolver {
	return func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
		return watchFunc(func(ctx context.Context, service string) sequence {
			return func(yield yield) {
				var last *snapshot
				for s, err := range inner.Watch(ctx, service) {
					passed := false
					pass := func(s snapshot, err error) bool {
						passed = true
						return yield(s, err)
					}
					if !edit(pass, last, s, err) {
						return
					}
					if passed && err == nil {
						last = &s
					}
				}
			}
		})
	}
}

// ignores leaves out the changes for which ignored is true.
func ignores(ignored func(last, s snapshot) bool) func(discovery.Resolver, <-chan struct{}) discovery.Resolver {
	return edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
		return err == nil && last != nil && !last.Unknown && ignored(*last, s) || yield(s, err)
	})
}

// beforeChanges yields before each change what at makes of it.
func beforeChanges(at func(last, s snapshot) []snapshot) func(discovery.Resolver, <-chan struct{}) discovery.Resolver {
	return edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
		if err == nil && last != nil && !slices.EqualFunc(last.Endpoints, s.Endpoints, discovery.Endpoint.Equal) {
			for _, moment := range at(*last, s) {
				if !yield(moment, nil) {
					return false
				}
			}
		}
		return yield(s, err)
	})
}

// split returns those of a that stay in b, and those that do not.
func split(a, b []discovery.Endpoint) (stay, others []discovery.Endpoint) {
	for _, e := range a {
		if slices.ContainsFunc(b, func(other discovery.Endpoint) bool { return other.ID == e.ID }) {
			stay = append(stay, e)
		} else {
			others = append(others, e)
		}
	}
	return stay, others
}

// around breaks the sequence as a whole.
func around(f func(ctx context.Context, inner sequence, yield yield, release <-chan struct{})) func(discovery.Resolver, <-chan struct{}) discovery.Resolver {
	return func(inner discovery.Resolver, release <-chan struct{}) discovery.Resolver {
		return watchFunc(func(ctx context.Context, service string) sequence {
			return func(yield yield) { f(ctx, inner.Watch(ctx, service), yield, release) }
		})
	}
}

func sameIDs(a, b snapshot) bool {
	ids := func(s snapshot) map[string]bool {
		m := map[string]bool{}
		for _, e := range s.Endpoints {
			m[e.Identity()] = true
		}
		return m
	}
	return maps.Equal(ids(a), ids(b))
}

const (
	first       = "the first snapshot is complete and valid"
	join        = "a join is followed"
	leave       = "a leave is followed"
	replacement = "a replacement is followed"
	weight      = "a weight changes in place"
	equal       = "equal snapshots are not yielded again"
	immutable   = "a yielded snapshot never changes"
	empty       = "a service that all have left is empty and not unknown"
	neverHeard  = "a name never heard of is unknown"
	lastSet     = "while the source fails the last set stands"
	recovery    = "after a failure changes are followed"
	saidAgain   = "after a failure the last set is said again"
	endedBefore = "a watch returns whose context ended before"
	endsWaiting = "a waiting watch returns when its context ends"
	left        = "a sequence can be left at its first yield"
	twice       = "a sequence can be ranged over twice"
	many        = "many watches at once say the same"
	watchBlocks = "Watch does not block"
	refresh     = "Refresh does not block"
	goroutines  = "no goroutine stays behind"
)

var catalogue = []broken{
	{name: "nothing is broken", wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver { return inner }},
	{name: "a refresher that does nothing", wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
		return refresher{inner, func() {}}
	}},
	{
		name: "a change comes in steps",
		wrap: beforeChanges(func(last, s snapshot) []snapshot {
			stay, joined := split(s.Endpoints, last.Endpoints)
			return []snapshot{{Endpoints: slices.Concat(last.Endpoints, joined)}, {Endpoints: stay}}
		}),
	},
	{
		name: "the first snapshot is partial",
		wrap: edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
			if last == nil && err == nil && len(s.Endpoints) > 1 && !yield(snapshot{Endpoints: s.Endpoints[1:]}, nil) {
				return false
			}
			return yield(s, err)
		}),
		rules: []string{first, recovery}, // recovery's second watch begins with the change
	},
	{
		name: "the first snapshot is empty",
		wrap: edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
			if last == nil && !s.Unknown && err == nil && !yield(snapshot{}, nil) {
				return false
			}
			return yield(s, err)
		}),
		rules: []string{first, recovery},
	},
	{
		name: "an endpoint stands twice",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			if len(s.Endpoints) > 2 {
				s.Endpoints = append(slices.Clone(s.Endpoints), s.Endpoints[0])
			}
			return yield(s, err)
		}),
		rules: []string{first, join, leave},
	},
	{
		name: "endpoints are invalid",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Endpoints = slices.Clone(s.Endpoints)
			for i := range s.Endpoints {
				s.Endpoints[i].ID, s.Endpoints[i].Addr = s.Endpoints[i].Identity(), "nowhere"
			}
			return yield(s, err)
		}),
		same:  func(a, b discovery.Endpoint) bool { return a.ID == b.ID && a.EffectiveWeight() == b.EffectiveWeight() },
		rules: []string{first},
	},
	{
		name:  "joins are ignored",
		wrap:  ignores(func(last, s snapshot) bool { return len(s.Endpoints) > len(last.Endpoints) }),
		rules: []string{join},
	},
	{
		name:  "leaves are ignored",
		wrap:  ignores(func(last, s snapshot) bool { return len(s.Endpoints) > 0 && len(s.Endpoints) < len(last.Endpoints) }),
		rules: []string{leave},
	},
	{
		name: "replacements are ignored",
		wrap: ignores(func(last, s snapshot) bool {
			return len(s.Endpoints) == len(last.Endpoints) && !sameIDs(last, s)
		}),
		rules: []string{replacement, recovery, many},
	},
	{
		name:  "weights are ignored",
		wrap:  ignores(func(last, s snapshot) bool { return len(s.Endpoints) > 0 && sameIDs(last, s) }),
		rules: []string{weight, saidAgain},
	},
	{
		name: "a weight is part of the identity",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Endpoints = slices.Clone(s.Endpoints)
			for i, e := range s.Endpoints {
				s.Endpoints[i].ID = e.Addr + string(rune('a'+e.EffectiveWeight()))
			}
			return yield(s, err)
		}),
		same: func(a, b discovery.Endpoint) bool {
			return a.Addr == b.Addr && a.EffectiveWeight() == b.EffectiveWeight()
		},
		rules: []string{weight},
	},
	{
		name:  "all are gone before each change",
		wrap:  beforeChanges(func(_, _ snapshot) []snapshot { return []snapshot{{}} }),
		rules: []string{join, leave, replacement, weight, recovery},
		says:  "came [empty], without users-",
	},
	{
		name: "an endpoint that stays is gone for a moment",
		wrap: beforeChanges(func(last, s snapshot) []snapshot {
			stay, others := split(s.Endpoints, last.Endpoints)
			if len(stay) == 0 {
				return nil
			}
			return []snapshot{{Endpoints: slices.Concat(stay[1:], others)}}
		}),
		rules: []string{join, leave, replacement, weight, recovery},
		says:  ", which stays; due [users-",
	},
	{
		name: "the service is unknown for a moment",
		wrap: beforeChanges(func(_, s snapshot) []snapshot {
			if len(s.Endpoints) == 0 {
				return nil // else the rule of the empty service tells too
			}
			return []snapshot{{Unknown: true}}
		}),
		rules: []string{join, leave, replacement, weight, recovery},
		says:  "came [unknown], though the service is known",
	},
	{
		name: "a stranger is there for a moment",
		wrap: beforeChanges(func(_, s snapshot) []snapshot {
			return []snapshot{{Endpoints: append(slices.Clone(s.Endpoints), discovery.Endpoint{Addr: "stranger:1"})}}
		}),
		rules: []string{join, leave, replacement, weight, recovery},
		says:  "with stranger:1, which is one too many",
	},
	{
		name: "an endpoint stands twice for a moment",
		wrap: beforeChanges(func(_, s snapshot) []snapshot {
			return []snapshot{{Endpoints: slices.Concat(s.Endpoints, s.Endpoints[:min(1, len(s.Endpoints))])}}
		}),
		rules: []string{join, leave, replacement, weight, recovery},
		says:  ", which is one too many",
	},
	{
		name: "everything is said twice",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			return yield(s, err) && (err != nil || yield(s, err))
		}),
		rules: []string{equal},
	},
	{
		name: "another order is news",
		wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
			inner.(*source).ordered = true
			return inner
		},
		rules: []string{equal},
	},
	{
		name: "a yielded address changes",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Endpoints = slices.Clone(s.Endpoints)
			goOn := yield(s, err)
			if len(s.Endpoints) > 0 {
				s.Endpoints[0].Addr = "changed:1"
			}
			return goOn
		}),
		rules: []string{immutable},
	},
	{
		name: "yielded metadata changes",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Endpoints = slices.Clone(s.Endpoints)
			for i := range s.Endpoints {
				s.Endpoints[i].Metadata = maps.Clone(s.Endpoints[i].Metadata)
			}
			goOn := yield(s, err)
			for _, e := range s.Endpoints {
				if e.Metadata != nil {
					e.Metadata["changed"] = "yes"
				}
			}
			return goOn
		}),
		rules: []string{immutable},
	},
	{
		name: "an empty service is unknown",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Unknown = len(s.Endpoints) == 0 && err == nil
			return yield(s, err)
		}),
		rules: []string{empty},
	},
	{
		name:  "the last endpoints never leave",
		wrap:  ignores(func(_, s snapshot) bool { return len(s.Endpoints) == 0 }),
		rules: []string{empty},
	},
	{
		name: "an unknown name is empty",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Unknown = false
			return yield(s, err)
		}),
		rules: []string{neverHeard},
	},
	{
		name: "an unknown name is nothing but an error",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			if s.Unknown {
				return yield(snapshot{}, errors.New("who?"))
			}
			return yield(s, err)
		}),
		rules: []string{neverHeard},
	},
	{
		name: "a failure is an empty snapshot",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			if err != nil {
				return yield(snapshot{}, nil)
			}
			return yield(s, nil)
		}),
		rules: []string{lastSet},
	},
	{
		name: "a failure is unknown",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			s.Unknown = s.Unknown || err != nil
			return yield(s, err)
		}),
		rules: []string{lastSet},
	},
	{
		name: "a failure is empty to a new watch",
		wrap: edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
			if err != nil && last == nil {
				return yield(snapshot{}, nil)
			}
			return yield(s, err)
		}),
		rules: []string{lastSet},
	},
	{
		name: "all are gone at the end of an error",
		wrap: around(func(_ context.Context, inner sequence, yield yield, _ <-chan struct{}) {
			failed := false
			for s, err := range inner {
				if failed && err == nil && !yield(snapshot{}, nil) {
					return
				}
				failed = err != nil
				if !yield(s, err) {
					return
				}
			}
		}),
		rules: []string{recovery, saidAgain},
		says:  "came [empty], without users-",
	},
	{
		name: "an error ends it all",
		wrap: around(func(ctx context.Context, inner sequence, yield yield, _ <-chan struct{}) {
			for s, err := range inner {
				if !yield(s, err) {
					return
				}
				if err != nil {
					<-ctx.Done()
				}
			}
		}),
		rules: []string{recovery, saidAgain},
	},
	{
		name: "the end of an error is not told",
		wrap: edits(func(yield yield, last *snapshot, s snapshot, err error) bool {
			if err == nil && last != nil && slices.EqualFunc(last.Endpoints, s.Endpoints, discovery.Endpoint.Equal) {
				return true
			}
			return yield(s, err)
		}),
		rules: []string{saidAgain},
	},
	{
		name: "an error ends the sequence",
		wrap: edits(func(yield yield, _ *snapshot, s snapshot, err error) bool {
			return yield(s, err) && err == nil
		}),
		rules: []string{recovery, saidAgain},
	},
	{
		name: "an ended context is not seen at the beginning",
		wrap: around(func(ctx context.Context, inner sequence, yield yield, release <-chan struct{}) {
			if ctx.Err() != nil {
				<-release
			}
			inner(yield)
		}),
		rules: []string{endedBefore},
	},
	{
		name: "an ended context is not seen while waiting",
		wrap: around(func(ctx context.Context, inner sequence, yield yield, release <-chan struct{}) {
			if ctx.Err() != nil {
				return
			}
			isLeft := false
			inner(func(s snapshot, err error) bool {
				isLeft = !yield(s, err)
				return !isLeft
			})
			if !isLeft {
				<-release
			}
		}),
		rules: []string{endsWaiting},
	},
	{
		name: "an ended context is not seen after an error",
		wrap: around(func(_ context.Context, inner sequence, yield yield, release <-chan struct{}) {
			failed := false
			for s, err := range inner {
				failed = err != nil
				if !yield(s, err) {
					return
				}
			}
			if failed {
				<-release
			}
		}),
		rules: []string{endsWaiting},
	},
	{
		name: "it yields after false",
		wrap: around(func(_ context.Context, inner sequence, yield yield, _ <-chan struct{}) {
			inner(func(s snapshot, err error) bool {
				goOn := yield(s, err)
				if !goOn {
					yield(s, err)
				}
				return goOn
			})
		}),
		rules: []string{left},
	},
	{
		name: "it waits for its context after false",
		wrap: around(func(ctx context.Context, inner sequence, yield yield, _ <-chan struct{}) {
			inner(yield)
			<-ctx.Done()
		}),
		rules: []string{left, twice},
	},
	{
		name: "it panics when it is left",
		wrap: around(func(_ context.Context, inner sequence, yield yield, _ <-chan struct{}) {
			inner(func(s snapshot, err error) bool {
				if !yield(s, err) {
					panic("left")
				}
				return true
			})
		}),
		rules: []string{left, twice},
	},
	{
		name: "a sequence is good for one range",
		wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
			return watchFunc(func(ctx context.Context, service string) sequence {
				var used atomic.Bool
				return func(yield yield) {
					if !used.Swap(true) {
						inner.Watch(ctx, service)(yield)
					}
				}
			})
		},
		rules: []string{twice},
	},
	{
		name: "four watches at most",
		wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
			free := make(chan struct{}, 4)
			return watchFunc(func(ctx context.Context, service string) sequence {
				return func(yield yield) {
					select {
					case free <- struct{}{}:
						defer func() { <-free }()
						inner.Watch(ctx, service)(yield)
					case <-ctx.Done():
					}
				}
			})
		},
		rules: []string{many},
	},
	{
		name: "Watch takes its time",
		wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
			return watchFunc(func(ctx context.Context, service string) sequence {
				time.Sleep(2 * time.Second)
				return inner.Watch(ctx, service)
			})
		},
		rules: []string{watchBlocks},
	},
	{
		name: "Refresh takes its time",
		wrap: func(inner discovery.Resolver, _ <-chan struct{}) discovery.Resolver {
			return refresher{inner, func() { time.Sleep(2 * time.Second) }}
		},
		rules: []string{refresh},
	},
	{
		name: "each watch leaves a goroutine",
		wrap: around(func(_ context.Context, inner sequence, yield yield, release <-chan struct{}) {
			go func() { <-release }()
			inner(yield)
		}),
		rules: []string{goroutines},
	},
	{
		name: "one goroutine stays",
		wrap: func(inner discovery.Resolver, release <-chan struct{}) discovery.Resolver {
			var once sync.Once
			return watchFunc(func(ctx context.Context, service string) sequence {
				once.Do(func() { go func() { <-release }() })
				return inner.Watch(ctx, service)
			})
		},
		rules: []string{goroutines},
	},
}

const refreshes = 3000 // of the rule that Refresh does not block

// TestRules runs every rule against resolvers of which each breaks one, and
// checks that it is told by the rule it breaks, and by no other.
func TestRules(t *testing.T) {
	for _, b := range catalogue {
		t.Run(b.name, func(t *testing.T) {
			release := make(chan struct{})
			reports := resolvertest.Broken(t, func() resolvertest.Subject {
				src := newSource()
				s := src.subject(b.wrap(src, release))
				s.Same = b.same
				return s
			}, func(_ string, check func(context.Context) error) {
				synctest.Test(t, func(t *testing.T) {
					release = make(chan struct{})
					_ = check(t.Context())
					close(release)
					time.Sleep(3 * refreshes * time.Second) // until those that take their time have ended
				})
			})
			if diff := cmp.Diff(slices.Sorted(slices.Values(b.rules)), slices.Sorted(maps.Keys(reports))); diff != "" {
				t.Errorf("rules that report (-want +got):\n%s\n%v", diff, reports)
			}
			for name, err := range reports {
				if !strings.Contains(err.Error(), b.says) {
					t.Errorf("%s: error %q, want one that says %q", name, err, b.says)
				}
				t.Logf("%s: %v", name, err)
			}
		})
	}
}
