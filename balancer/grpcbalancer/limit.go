package grpcbalancer

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// admit waits for the call's place among those in flight. The error is the caller's.
func (c *call) admit() error {
	if err := c.core.Admit(); err != nil {
		return c.notAdmitted(err)
	}
	return nil
}

// notAdmitted is what the caller is told of a wait that ended in vain.
func (c *call) notAdmitted(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.core.TimedOut():
		c.refusal = c.core.Error("", err)
		return c.timeoutLocked()
	case c.Err() != nil:
		return status.FromContextError(c.Err()).Err()
	case errors.Is(err, breaker.ErrLimit):
		c.refusal = limited(c.core.Error("", err))
	case errors.Is(err, fairlead.ErrClosed):
		c.refusal = closedError(c.core.ServiceName())
	default:
		c.refusal = unavailable(c.core.Error("", err))
	}
	return c.refusal
}

// limited gives an error the status of what there is too much of.
func limited(err error) error {
	return &callError{err, status.New(codes.ResourceExhausted, err.Error())}
}

// fullAt returns the policy that refused the call's first invocation because all its
// endpoints were full, or because others wait for them, nil where that is not why it
// came to nothing. A later one, of a retry, is not waited for.
func (c *call) fullAt() *policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent || c.lastErr != nil {
		return nil
	}
	return c.full
}

// inTurn makes another invocation, with a place at an endpoint, whenever there is one,
// for as long as the last came to nothing for want of it. err is what that came to.
func (c *call) inTurn(err error, invoke func() error) error {
	for err != nil {
		p := c.fullAt()
		if p == nil {
			return err
		}
		if err := c.awaitRoom(p); err != nil {
			return err
		}
		err = invoke()
	}
	return nil
}

// errPolicyClosed ends the wait of a call whose ClientConn was closed, or went idle: the
// next invocation finds out.
var errPolicyClosed = errors.New("grpcbalancer: the policy was closed")

// awaitRoom takes a place at an endpoint as soon as there is one.
func (c *call) awaitRoom(p *policy) error {
	ctx, cancel := context.WithCancelCause(c)
	defer cancel(nil)
	stop := context.AfterFunc(p.open, func() { cancel(errPolicyClosed) })
	defer stop()
	err := c.core.AwaitRoom(ctx, p.view, func() (full bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		lease, err := p.view.Pick(c.core.Info())
		if err != nil {
			return c.core.Info().Full()
		}
		if _, sub := p.connection(lease.Node()); sub == nil {
			lease.Undo()
			return true // the view will hear of it, and so will we
		}
		c.room = lease
		return false
	})
	if err != nil && !errors.Is(err, errPolicyClosed) {
		return c.notAdmitted(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waited = true
	return nil
}

// leaveRoom gives back the place of an invocation that did not come to use it.
func (c *call) leaveRoom() {
	c.mu.Lock()
	lease := c.room
	c.room = balancer.Lease{}
	c.mu.Unlock()
	lease.Release()
}
