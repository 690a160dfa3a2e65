package grpcbalancer

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-go/fairlead"
)

// lookAgainAfter is the pause before a service that could not be had is asked
// for again. It is free while the Mesh remembers the name as unknown.
const lookAgainAfter = time.Second

// holder keeps a service watched on behalf of a ClientConn that is not idle.
type holder struct {
	mesh   *fairlead.Mesh
	name   string
	known  func(*fairlead.Service) // called once, when the resolver has said who serves the name
	failed func(error)             // called with each reason why it has not yet
}

// run holds the service until ctx ends. err is why it is not held yet.
func (h *holder) run(ctx context.Context, service *fairlead.Service, err error) {
	for ctx.Err() == nil {
		if err == nil {
			err = service.Wait(ctx)
		}
		switch {
		case err == nil:
			h.known(service)
			<-ctx.Done()
		case ctx.Err() == nil:
			h.failed(h.explain(err))
			service, err = h.again(ctx, service, err)
		}
	}
	if service != nil {
		service.Close()
	}
}

// again goes on waiting for a resolver that is slow, and asks anew, after a
// pause, for a service that was forgotten.
func (h *holder) again(ctx context.Context, service *fairlead.Service, err error) (*fairlead.Service, error) {
	if service != nil {
		if errors.Is(err, fairlead.ErrUnresolved) {
			return service, nil
		}
		service.Close()
	}
	select {
	case <-time.After(lookAgainAfter):
		return h.mesh.Hold(h.name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// explain lets calls wait until the service can be had, unless it never can.
func (h *holder) explain(err error) error {
	if errors.Is(err, fairlead.ErrClosed) {
		return closedError(h.name)
	}
	return explain(h.name, err)
}

// closedError is the error of calls to a Mesh that is closed. It has a status, so that
// calls which wait for a connection end with it.
func closedError(service string) error { return unavailable(explain(service, fairlead.ErrClosed)) }

// explain names the service in an error that does not.
func explain(service string, err error) error {
	if e := (*fairlead.CallError)(nil); errors.As(err, &e) {
		return err
	}
	return &fairlead.CallError{Service: service, Err: err}
}
