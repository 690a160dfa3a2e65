package grpcbalancer

import (
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/breaker"
)

// admit waits for the call's place among those in flight. The error is the caller's.
func (c *call) admit() error {
	err := c.core.Admit()
	switch {
	case err == nil:
		return nil
	case c.core.TimedOut():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refusal = c.core.Error("", err)
		return c.timeoutLocked()
	case c.Err() != nil:
		return status.FromContextError(c.Err()).Err()
	case errors.Is(err, breaker.ErrLimit):
		return limited(c.core.Error("", err))
	case errors.Is(err, fairlead.ErrClosed):
		return closedError(c.core.ServiceName())
	}
	return unavailable(c.core.Error("", err))
}

// limited gives an error the status of what there is too much of.
func limited(err error) error {
	return &callError{err, status.New(codes.ResourceExhausted, err.Error())}
}

// full reports whether the call's first invocation came to nothing because all
// endpoints were full. A later one, of a retry, is not waited for.
func (c *call) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.sent && c.lastErr == nil && c.core.Info().Full()
}

// awaitRoom invokes again when there may be room at an endpoint, until there is.
// err is what the call came to before.
func (c *call) awaitRoom(err error, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts []grpc.CallOption) error {
	full := c.core.AwaitRoom(func() bool {
		err = invoke(c.prepare(true), method, req, reply, cc, opts...)
		c.finishInvocation()
		return err != nil && c.full()
	})
	switch {
	case full == nil:
		return err
	case c.core.TimedOut():
		return err // which explain makes a timeout of
	case c.Err() != nil:
		return status.FromContextError(c.Err()).Err()
	case errors.Is(full, fairlead.ErrClosed):
		err = closedError(c.core.ServiceName())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refusal = err
		return err
	}
	return limited(c.core.Error("", full))
}
