package resolvertest_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

// source is a Resolver that keeps every rule, and whose source can fail.
type source struct {
	mu       sync.Mutex
	services map[string][]discovery.Endpoint // guarded by mu
	failing  bool                            // guarded by mu
	changed  chan struct{}                   // guarded by mu
	ordered  bool                            // another order is news
}

func newSource() *source {
	return &source{services: map[string][]discovery.Endpoint{}, changed: make(chan struct{})}
}

func (s *source) change(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *source) set(endpoints ...discovery.Endpoint) error {
	return s.change(func() { s.services["users"] = slices.Clone(endpoints) })
}

func (s *source) fail(failing bool) error { return s.change(func() { s.failing = failing }) }

func (s *source) read() (services map[string][]discovery.Endpoint, failing bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	services = map[string][]discovery.Endpoint{}
	for name, endpoints := range s.services {
		services[name] = endpoints
	}
	return services, s.failing, s.changed
}

var errDown = errors.New("the source is down")

func (s *source) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		var last *discovery.Snapshot
		failed := false
		for ctx.Err() == nil {
			services, failing, changed := s.read()
			endpoints, known := services[service]
			snapshot := discovery.Snapshot{Endpoints: endpoints, Unknown: !known}
			switch {
			case failing && !failed:
				if !yield(discovery.Snapshot{}, errDown) {
					return
				}
			case !failing && (last == nil || failed || !s.same(*last, snapshot)):
				last = &snapshot
				if !yield(snapshot, nil) {
					return
				}
			}
			failed = failing
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
	}
}

func (s *source) same(a, b discovery.Snapshot) bool {
	sorted := func(snapshot discovery.Snapshot) []discovery.Endpoint {
		endpoints := slices.Clone(snapshot.Endpoints)
		if !s.ordered {
			slices.SortFunc(endpoints, func(a, b discovery.Endpoint) int { return strings.Compare(a.Identity(), b.Identity()) })
		}
		return endpoints
	}
	return a.Unknown == b.Unknown && slices.EqualFunc(sorted(a), sorted(b), discovery.Endpoint.Equal)
}

func (s *source) subject(r discovery.Resolver) resolvertest.Subject {
	return resolvertest.Subject{Resolver: r, Set: s.set, Fail: s.fail, Unknown: "nobody"}
}
