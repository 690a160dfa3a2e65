package fairlead

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
	"github.com/fairlead-go/fairlead/tracing"
)

// Call is a call of another protocol than HTTP, for those who bring one: it has
// the deadline, the span, the overrides and the share in the retry budget that an
// HTTP call to the same service has, and [Mesh.Shutdown] waits for it. Package
// balancer/grpcbalancer is made of it.
//
// It is begun by [Mesh.Begin] and ended by End. Each attempt is: Prepare, a pick
// with Info among the nodes of a balancer.View of [Service.Balancer], Attempt,
// the outcome, and Next, which decides whether another follows. A Call is for one
// goroutine at a time and must not be copied.
type Call struct{ core core }

// CallInfo says what a [Call] is.
type CallInfo struct {
	// Method is the full name of the method, "/pkg.Service/Method".
	Method string

	// Safe says that the call may be repeated although an endpoint may have acted
	// on it, by its protocol's own word. Where it is false, [Override] and
	// retry.Config's Safe, which sees a POST to the path Method, may still say so.
	Safe bool

	// Endless says that the call may last for as long as its caller wants, so that
	// WithTimeout does not apply: a stream.
	Endless bool
}

// Begin begins a call. c must be the zero Call. It does not wait for the resolver.
// The error is [ErrClosed], also while the Mesh is shutting down, or a
// *[CallError] as from [Mesh.Hold]; c is not to be ended then.
func (m *Mesh) Begin(ctx context.Context, c *Call, service string, info CallInfo) error {
	s, err := m.enter(service)
	if err != nil {
		return err
	}
	c.core.service, c.core.ctx = s, ctx
	if !info.Endless {
		c.core.bound()
	}
	c.core.ctx, c.core.span = m.telemetry.StartCall(c.core.ctx, s.name, info.Method)
	c.core.override = overrideFrom(ctx)
	c.core.info.Endpoint = c.core.override.Endpoint
	c.core.retry = s.retry.Begin(s.safeToCall(ctx, info, c.core.override))
	return nil
}

// enter is acquire with the errors of the exported functions.
func (m *Mesh) enter(name string) (*service, error) {
	key, err := serviceName(name)
	if err != nil {
		return nil, &CallError{Service: name, Err: err}
	}
	s, err := m.acquire(key)
	if err != nil && !errors.Is(err, ErrClosed) {
		return nil, &CallError{Service: key, Err: err}
	}
	return s, err
}

// safeToCall is safeToRepeat for other protocols.
func (s *service) safeToCall(ctx context.Context, info CallInfo, o *Override) bool {
	switch o.Retry {
	case RetryAllowed:
		return true
	case RetryForbidden:
		return false
	}
	return info.Safe || s.retry.Safe(ctx, http.MethodPost, info.Method)
}

// Context returns the caller's context with the call's deadline and span.
func (c *Call) Context() context.Context { return c.core.ctx }

// Traced reports whether the call has a span.
func (c *Call) Traced() bool { return c.core.span.Enabled() }

// Balancer returns the balancer of the call's service.
func (c *Call) Balancer() *balancer.Balancer { return c.core.service.balancer }

// Info returns what picks of this call know of it. Its Context is the caller's to set.
func (c *Call) Info() *balancer.Info { return &c.core.info }

// Prepare makes ready for the next pick. stoppable says that the caller could
// end the attempt before its time, without ending the call; limited then reports
// whether that may be asked for, see Attempt.
func (c *Call) Prepare(stoppable bool) (limited bool) {
	k := &c.core
	k.info.Retryable = stoppable && k.info.Endpoint == "" && k.retry.Retryable() && k.service.balancer.Probing()
	return stoppable && (k.info.Retryable || k.attemptTimeout() > 0)
}

// Attempt begins an attempt on the endpoint that was picked from view. It is to
// be ended after limit, for [ErrAttemptTimeout], where limit is not 0. ctx is the
// call's with the attempt's span, to be injected from.
func (c *Call) Attempt(l *balancer.Lease, view *balancer.View, method string) (ctx context.Context, span tracing.Attempt, limit time.Duration) {
	k, n := &c.core, l.Node()
	k.noticeNoKey(l)
	resend := int(k.attempts.Add(1)) - 1
	ctx, span = k.service.mesh.telemetry.StartAttempt(k.ctx, &tracing.AttemptInfo{
		Service: k.service.name, Endpoint: n.ID(), Addr: n.Addr(), Reason: l.Reason(), Resend: resend, Method: method,
	})
	return ctx, span, k.limit(l, view)
}

// Unsent takes back an attempt that came to nothing: its connection was lost
// before it was used.
func (c *Call) Unsent() { c.core.attempts.Add(-1) }

// Service returns the name of the call's service.
func (c *Call) Service() string { return c.core.service.name }

// Trouble returns why it is not known who serves the name, nil where it is.
func (c *Call) Trouble() error {
	s := c.core.service
	switch {
	case s.resolved.Load():
		return nil
	case s.mesh.closed.Load():
		return ErrClosed
	}
	select {
	case <-s.first:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.outcome
	default:
		return s.unresolved(nil)
	}
}

// Telemetry returns the Mesh's.
func (c *Call) Telemetry() *tracing.Telemetry { return c.core.service.mesh.telemetry }

// Probed tells how an attempt ended whose lease was a probe: whether there was an
// answer, and whether there was none within the attempt's limit.
func (c *Call) Probed(n *balancer.Node, answered, late bool) { linkOf(n).probed(answered, late) }

// Next decides what follows an attempt that ended with o. replayable says that
// what was sent can be sent again. Where it says Again, the budget has paid.
func (c *Call) Next(o balancer.Outcome, replayable bool, view *balancer.View) retry.Decision {
	return c.core.next(o, replayable, view)
}

// Pause waits before the next attempt. Its error is the cause of the context's
// end, or ErrClosed.
func (c *Call) Pause(d time.Duration) error { return c.core.pause(d, nil) }

// TimedOut reports whether WithTimeout ended the call, or is about to: an
// endpoint keeps to the deadline too, and its answer can be here a moment before
// the context knows.
func (c *Call) TimedOut() bool {
	k := &c.core
	if k.timeout == nil || k.ctx.Err() != nil {
		return k.timedOut()
	}
	deadline, _ := k.ctx.Deadline()
	return time.Until(deadline) <= 0
}

// Explain makes the call's error of what ended it. endpoint is the last
// attempt's, empty if there was none.
func (c *Call) Explain(endpoint string, err error) *CallError {
	return &CallError{Service: c.core.service.name, Endpoint: endpoint, Attempts: int(c.core.attempts.Load()), Err: err}
}

// End ends the call. code is its status code, and err what the caller was told.
func (c *Call) End(code int, err error, o balancer.Outcome) {
	k := &c.core
	if k.span.Enabled() {
		k.span.End(tracing.CallResult{Attempts: int(k.attempts.Load()), StatusCode: code, Err: err, Outcome: o})
	}
	k.service.release()
	if k.cancel != nil {
		k.cancel()
	}
}
