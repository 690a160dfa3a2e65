package fairlead

import (
	"context"
	"errors"
	"sync"

	"github.com/fairlead-go/fairlead/balancer"
)

// Service is a service of a [Mesh] that somebody holds: what the Mesh's own HTTP
// calls use, for those who bring another protocol. Nodes, gates, budget and
// settings are shared with all other callers of the service. See [Call] for the
// calls themselves. Package balancer/grpcbalancer is made of both.
//
// All methods are safe for concurrent use.
type Service struct {
	service *service
	once    sync.Once
}

// Hold begins to watch a service, if nobody has yet, and keeps it watched until
// the Service's Close. It does not wait for the resolver. The error is
// [ErrClosed], also while the Mesh is shutting down unless calls to the service are in
// flight, or a *[CallError] where the name cannot be a service's, is known
// to be unknown, or is one too many.
func (m *Mesh) Hold(name string) (*Service, error) {
	s, err := m.enter(name)
	if errors.Is(err, ErrClosed) {
		if s = m.acquireInFlight(name); s != nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	s.holds.Add(1)
	if m.closing.Load() {
		m.idle() // a Shutdown may have taken the hold for a call
	}
	return &Service{service: s}, nil
}

// acquireInFlight is acquire for the sake of calls in flight, which a Shutdown waits for:
// a connection that they wait for may not be there yet. It returns nil where there are none.
func (m *Mesh) acquireInFlight(name string) *service {
	key, err := serviceName(name)
	if err != nil || m.closed.Load() {
		return nil
	}
	known, ok := m.services.byName.Load(key)
	if !ok {
		return nil
	}
	if s := known.(*service); s.refs.Load() > s.holds.Load() && s.acquire() {
		return s
	}
	return nil
}

// Name returns the name in the form in which it is watched.
func (s *Service) Name() string { return s.service.name }

// Wait blocks until the resolver has said who serves the name, or ctx ends, or
// five seconds without a deadline. An unknown name is [ErrUnknownService], a
// resolver that has not answered [ErrUnresolved].
func (s *Service) Wait(ctx context.Context) error { return s.service.await(ctx, nil) }

// Balancer returns the service's balancer. Its picks are to be reported and
// released; it must be neither updated nor closed.
func (s *Service) Balancer() *balancer.Balancer { return s.service.balancer }

// Refresh asks the resolver to look again, if it can and was not asked just now,
// because calls or connections are failing. It does not block.
func (s *Service) Refresh() { s.service.refresh() }

// Ended is closed when the service's Mesh was closed.
func (s *Service) Ended() <-chan struct{} { return s.service.mesh.ended }

// Close lets the service go. Closing twice does nothing. A Shutdown of the Mesh
// does not wait for it.
func (s *Service) Close() {
	s.once.Do(func() {
		s.service.holds.Add(-1)
		s.service.release()
	})
}
