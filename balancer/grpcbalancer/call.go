package grpcbalancer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/retry"
)

// call is what the caller asked for, from its interceptor on. It is the context
// of its attempts: that is how a picker finds it, and saves an allocation. It
// fits into 512 bytes, above which Go's allocator takes longer.
type call struct {
	context.Context // never changed once the call has begun
	core            fairlead.Call
	stop            context.CancelCauseFunc // ends the attempts of this invocation; nil: cannot; guarded by mu
	finish          []func(error)           // the caller's, to be called at the end
	late            atomic.Bool             // the attempt's time limit ran out

	mu      sync.Mutex
	round   int32            // how many invocations there were; guarded by mu
	sent    bool             // this invocation came as far as an attempt; guarded by mu
	over    bool             // the call has ended; guarded by mu
	injects bool             // see willInject, before which nobody else has the call
	policy  *policy          // of the last pick that found a node; guarded by mu
	refusal error            // why this invocation's last pick found no node; guarded by mu
	full    *policy          // whose endpoints were all full for it, nil if that was not why; guarded by mu
	room    balancer.Lease   // a place that it has waited for, zero without; guarded by mu
	waited  bool             // it had its turn in the queue for one; guarded by mu
	outcome balancer.Outcome // of the last attempt; guarded by mu
	node    *balancer.Node   // it was on, nil before the first; guarded by mu
	lastErr error            // what an earlier invocation ended with; guarded by mu

	stream streamState // of a call that is one
}

type callKey struct{}

// Value makes the call be found in the contexts that are made of it.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// callOf returns the call that an attempt's context belongs to, nil where no
// interceptor of ours began it.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// prepare makes ready for the next invocation and returns its context. stoppable
// says that it can be ended before its time.
func (c *call) prepare(stoppable bool) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roundLocked()
	if !c.core.Prepare(stoppable) {
		return c
	}
	return c.stoppableLocked()
}

// roundLocked begins another invocation.
func (c *call) roundLocked() {
	c.sent, c.refusal, c.full = false, nil, nil
	c.stream.finished, c.stream.err = false, nil
	c.round++
	c.late.Store(false)
}

// stoppableLocked returns the context of an invocation that can be ended before its time.
func (c *call) stoppableLocked() context.Context {
	ctx, cancel := context.WithCancelCause(c)
	c.stop = cancel
	return ctx
}

// finishInvocation lets go of what prepare made.
func (c *call) finishInvocation() {
	c.mu.Lock()
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop(nil)
	}
}

// expire is called when the time limit of an attempt of a round runs out.
func (c *call) expire(round int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil || c.round != round {
		return // the attempt ended a moment before
	}
	c.late.Store(true)
	c.stop(fairlead.ErrAttemptTimeout)
}

// again decides whether another invocation follows the one that ended with err,
// and waits until it is due. Where there is none, the error is the caller's.
func (c *call) again(err error, replayable bool) (bool, error) {
	next := c.decide(err, replayable)
	if !next.Again {
		return false, c.explain(err, next.Reason)
	}
	if cause := c.core.Pause(next.Wait); cause != nil {
		return false, c.interrupted(cause)
	}
	return true, nil
}

func (c *call) decide(err error, replayable bool) retry.Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sent || c.over {
		return retry.Decision{Reason: retry.ReasonFinal}
	}
	next := c.core.Next(c.outcome, replayable, c.policy.view)
	if next.Again {
		c.lastErr = c.attemptErrorLocked(err)
	}
	return next
}

// attemptErrorLocked is what a caller is told of an attempt that ended with err: where
// our time limit did that, gRPC saw a cancel.
func (c *call) attemptErrorLocked(err error) error {
	if c.sent && cutOff(err) && c.late.Load() {
		return c.failureLocked(codes.DeadlineExceeded, fairlead.ErrAttemptTimeout)
	}
	return err
}

// explain makes the caller's error of what the last invocation ended with. What
// a server said is handed on as it is.
func (c *call) explain(err error, why retry.Reason) error {
	unresolved := c.core.Unresolved()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case (!c.sent || cutOff(err)) && c.core.TimedOut():
		return c.timeoutLocked()
	case c.Err() != nil:
		return err
	case !c.sent && c.lastErr != nil:
		return c.lastErr // an endpoint's word says more than that there is no other
	case !c.sent && errors.Is(c.refusal, breaker.ErrLimit):
		return limited(c.refusal)
	case !c.sent && status.Code(err) != codes.Unavailable:
		return err // the ClientConn was closed, or the request is at fault
	case !c.sent && c.refusal != nil:
		return unavailable(c.refusal)
	case !c.sent && unresolved != nil:
		return &callError{explain(c.core.ServiceName(), unresolved), status.Convert(err)}
	}
	err = c.attemptErrorLocked(err)
	if why == retry.ReasonBudget {
		err = &callError{fmt.Errorf("%w (%w)", err, retry.ErrBudget), status.Convert(err)}
	}
	return err
}

// interrupted is explain for a call that ended while it waited to be sent again.
func (c *call) interrupted(cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.core.TimedOut():
		return c.timeoutLocked()
	case errors.Is(cause, fairlead.ErrClosed):
		return c.lastErr
	}
	return status.FromContextError(c.Err()).Err()
}

// cutOff reports whether err may be the end of a context, rather than an answer.
func cutOff(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded
}

// timeoutLocked is the error of a call that WithTimeout ended.
func (c *call) timeoutLocked() error {
	cause := fairlead.ErrTimeout
	if why := (*fairlead.CallError)(nil); errors.As(c.refusal, &why) {
		cause = fmt.Errorf("%w: %w", cause, why.Err)
	}
	return c.failureLocked(codes.DeadlineExceeded, cause)
}

func (c *call) failureLocked(code codes.Code, cause error) error {
	endpoint := ""
	if c.node != nil {
		endpoint = c.node.ID()
	}
	err := c.core.Error(endpoint, cause)
	return &callError{err, status.New(code, err.Error())}
}

// end ends the call, once.
func (c *call) end(err error) {
	c.mu.Lock()
	again, o := c.over, c.outcome
	c.over = true
	c.unwatchLocked()
	c.mu.Unlock()
	if again {
		return
	}
	c.core.End(int(status.Code(err)), err, o)
	for _, f := range c.finish {
		f(err)
	}
}

// abandon ends a call in which code of the user's panicked.
func (c *call) abandon() {
	c.finish = nil
	c.finishInvocation()
	c.leaveRoom()
	c.end(nil)
}

// abandonUnlessOpened is abandon for a stream, which outlives its opening.
func (c *call) abandonUnlessOpened() {
	c.mu.Lock()
	opened := c.stream.opened
	c.mu.Unlock()
	if !opened {
		c.abandon()
	}
}

// callError is an error with a status of its own, and a chain that says more.
type callError struct {
	error
	status *status.Status
}

func (e *callError) Unwrap() error              { return e.error }
func (e *callError) GRPCStatus() *status.Status { return e.status }

// unavailable gives an error of ours the status of all others.
func unavailable(err error) error {
	return &callError{err, status.New(codes.Unavailable, err.Error())}
}

// silentProbe is how long a stream may be an endpoint's probe without a sign from
// it: then another call is.
const silentProbe = 10 * time.Second
