package discovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// Registry is a service registry that lives in the process: what is registered
// with it is at once seen by everybody who watches it. Use it in tests, in
// programs that start their own servers, and as the sink of a source of your own.
//
// Make one with [NewRegistry]. All methods are safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	services map[string][]Endpoint // replaced, never changed: snapshots share them; guarded by mu
	changed  chan struct{}         // closed at each change; guarded by mu
}

var (
	_ Resolver  = (*Registry)(nil)
	_ Registrar = (*Registry)(nil)
)

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry {
	return &Registry{services: make(map[string][]Endpoint), changed: make(chan struct{})}
}

// Register makes e an endpoint of service, or updates the one with its ID.
// It never blocks; ctx is looked at once.
func (r *Registry) Register(ctx context.Context, service string, e Endpoint) (Registration, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(validateName(service), e.Validate()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r.update(service, func(endpoints []Endpoint) []Endpoint {
		if i := indexOf(endpoints, e.Identity()); i >= 0 {
			endpoints[i] = e
			return endpoints
		}
		return append(endpoints, e)
	})
	return &registration{registry: r, service: service, id: e.Identity()}, nil
}

// Set makes endpoints the whole of service. With none the service stays known and empty.
func (r *Registry) Set(service string, endpoints ...Endpoint) error {
	if err := (Services{service: endpoints}).Validate(); err != nil {
		return err
	}
	r.update(service, func([]Endpoint) []Endpoint { return slices.Clone(endpoints) })
	return nil
}

// Watch yields the service's endpoints now and after each change. Changes that
// come faster than they are read are merged.
func (r *Registry) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		var last told
		for {
			snapshot, changed := r.read(service)
			if last.news(snapshot, nil) && !yield(snapshot, nil) {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

func (r *Registry) read(service string) (s Snapshot, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	endpoints, known := r.services[service]
	return Snapshot{Endpoints: endpoints, Unknown: !known}, r.changed
}

// update replaces the service's endpoints by what change makes of a copy of them.
func (r *Registry) update(service string, change func([]Endpoint) []Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.services[service] = change(slices.Clone(r.services[service]))
	close(r.changed)
	r.changed = make(chan struct{})
}

type registration struct {
	registry *Registry
	service  string
	id       string
}

func (r *registration) Deregister(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	r.registry.update(r.service, func(endpoints []Endpoint) []Endpoint {
		if i := indexOf(endpoints, r.id); i >= 0 {
			return slices.Delete(endpoints, i, i+1)
		}
		return endpoints
	})
	return nil
}

func indexOf(endpoints []Endpoint, id string) int {
	return slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Identity() == id })
}
