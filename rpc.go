package fairlead

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
	"github.com/fairlead-go/fairlead/tracing"
)

// Call is a call of another protocol than HTTP, made for package
// balancer/grpcbalancer: it has the deadline, the span, the overrides and the
// share in the retry budget that an HTTP call to the same service has, and
// [Mesh.Shutdown] waits for it.
//
// It is begun by [Mesh.Begin] and ended by End, once. Each attempt in between is
//
//	err := c.Admit()
//	limited := c.Prepare(stoppable)
//	lease, err := view.Pick(c.Info())  // a balancer.View of the service's nodes
//	ctx, span, limit := c.Attempt(&lease, view, method)
//	...                                // send, with what is injected from ctx
//	c.Info().Avoid(lease.Node())       // where another may follow
//	span.Verdict(verdict)
//	lease.Report(outcome)
//	lease.Release()                    // when the work is over,
//	span.End(nil)                      // and so is the attempt
//	next := c.Next(outcome, replayable, view)
//
// A Call is for one goroutine at a time, but for Pause, what never changes after
// Begin (Context, ServiceName, Telemetry, Balancer), and End, which may come
// beside these. It must not be copied.
type Call struct{ core core }

// CallInfo says what a [Call] is.
type CallInfo struct {
	// Method is the full name of the method, "/pkg.Service/Method".
	Method string

	// Safe says that the call may be repeated although an endpoint may have acted
	// on it, by its protocol's own word. An [Override] goes before it; where it is
	// false, retry.Config's Safe, which sees a POST to the path Method, may still
	// say so.
	Safe bool

	// Stream says that the call may last for as long as its caller wants, so that
	// WithTimeout does not apply.
	Stream bool
}

// Begin begins a call. c must be the zero Call. It does not wait for the resolver.
// The error is [ErrClosed], also while the Mesh is shutting down, or a
// *[CallError] as from [Mesh.Hold]; c is not to be ended then.
func (m *Mesh) Begin(ctx context.Context, c *Call, service string, info CallInfo) error {
	s, err := m.enter(service)
	if err != nil {
		return err
	}
	whole := false
	defer func() {
		if whole {
			return
		}
		s.release() // code of the user's panicked
		if c.core.cancel != nil {
			c.core.cancel()
		}
	}()
	c.core.service, c.core.ctx = s, ctx
	if !info.Stream && s.settings.timeout > 0 {
		c.core.bound()
	}
	if c.core.heard() {
		c.core.trace(info.Method)
	}
	c.core.override = overrideFrom(ctx)
	c.core.info.Endpoint, c.core.info.Stream = c.core.override.Endpoint, info.Stream
	c.core.retry = s.retry.Prepare(s.safeToCall(ctx, info, c.core.override))
	whole = true
	return nil
}

// Admit waits for the call's place among those in flight, where [WithLimit] bounds
// them, and throws the dice of [WithThrottle]. It comes right after Begin. The error has
// breaker.ErrLimit or retry.ErrThrottled in its chain, and the cause of the
// context's end if that was it, or is [ErrClosed]; the call is to be ended then too.
func (c *Call) Admit() error {
	return c.core.unlessClosed(c.core.admit(c.core.service.mesh.ended))
}

// AwaitRoom calls try until it says that not all endpoints were full, as
// breaker.Limiter's AwaitRoom does: try is to pick from by, and no more. It blocks until
// ctx, which is made of the call's, ends, and is for a call whose pick found all full, as
// its Info's Full says, or which Queues: it panics where nothing is limited.
func (c *Call) AwaitRoom(ctx context.Context, by *balancer.View, try func() (full bool)) error {
	k := &c.core
	defer k.hurry()
	return k.unlessClosed(k.service.limiter.AwaitRoom(ctx, k.service.mesh.ended, k.want(by), try))
}

// Queues reports whether other calls wait for room at the endpoints that by knows, so
// that this one is not to pick before it has waited too.
func (c *Call) Queues(by *balancer.View) bool { return c.core.queues(by) }

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
	if o.Retry != RetryAsConfigured {
		return o.Retry == RetryAllowed
	}
	return info.Safe || s.retry.Safe(ctx, http.MethodPost, info.Method)
}

// Context returns the caller's context with the call's deadline and span.
func (c *Call) Context() context.Context { return c.core.ctx }

// Traced reports whether the call has a span.
func (c *Call) Traced() bool { return c.core.span != nil }

// Balancer returns the balancer of the call's service.
func (c *Call) Balancer() *balancer.Balancer { return c.core.service.balancer }

// Info returns what picks of this call know of it. Its Context is the caller's to set.
func (c *Call) Info() *balancer.Info { return &c.core.info }

// Prepare makes ready for the next pick. stoppable says that the caller could
// end the attempt before its time without ending the call; limited then reports
// whether Attempt may ask for that, so that a context to cancel is wanted.
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
	if !k.hedge {
		k.retry.Count()
	}
	limit = k.limit(l, view)
	if k.unheard {
		return k.ctx, span, limit
	}
	reason := l.Reason()
	if k.hedge {
		reason = reasonHedge
	}
	ctx, span = k.service.mesh.telemetry.StartAttempt(k.ctx, &tracing.AttemptInfo{
		Service: k.service.name, Endpoint: n.ID(), Addr: n.Addr(), Reason: reason, Resend: resend, Method: method,
	})
	return ctx, span, limit
}

// Unsent takes back an attempt that came to nothing: its connection was lost
// before it was used.
func (c *Call) Unsent() { c.core.attempts.Add(-1) }

// ServiceName returns the name of the call's service.
func (c *Call) ServiceName() string { return c.core.service.name }

// Unresolved returns why it is not known who serves the name, nil where it is.
func (c *Call) Unresolved() error {
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

// Hedged reports whether the call is one that a second attempt may be sent beside,
// as [WithHedge] has it, and how long the first is waited for before: 0 while that
// is not known. What the first took is to be told to ObserveHedge.
func (c *Call) Hedged() (wait time.Duration, ok bool) {
	k := &c.core
	if k.service.hedger == nil || !k.retry.Safe() || k.info.Endpoint != "" {
		return 0, false
	}
	wait, _ = k.service.hedger.Wait()
	return wait, true
}

// ObserveHedge tells how long a call's first attempt took to be answered, or had
// taken when its second was faster.
func (c *Call) ObserveHedge(took time.Duration) { c.core.service.hedger.Observe(took) }

// Hedge begins second, the zero Call, for the second attempt of this call, beside
// the first on the endpoint of tried. It reports false where there is no other
// endpoint or the budget does not pay. Otherwise second is to be ended for itself,
// and its attempt is to go where its own Info says. It may be called beside the
// other methods, but not after End.
func (c *Call) Hedge(second *Call, tried *balancer.Node, view *balancer.View) bool {
	k, h := &c.core, &second.core
	h.info.Avoid(tried)
	h.info.Hedge = true
	wait, _ := k.service.hedger.Wait()
	if r := k.remaining(); r > 0 && r < wait || !view.Others(&h.info) || !k.service.acquire() {
		return false // it could hardly finish, or there is nowhere to go
	}
	if !k.retry.Hedge() {
		k.service.release()
		c.Telemetry().Hedge(k.ctx, k.service.name, "budget")
		return false
	}
	h.service, h.ctx, h.override, h.hedge = k.service, k.ctx, k.override, true
	h.timeout, h.hurried = k.timeout, k.hurried
	h.attempts.Store(k.attempts.Add(1) - 1)
	return true
}

// Hurried reports whether the call had waited for room for so long that less than
// half of WithTimeout was left: should that run out, its endpoint is a suspect only.
func (c *Call) Hurried() bool { return c.core.hurried }

// Logger returns the Mesh's.
func (c *Call) Logger() *slog.Logger { return c.core.service.mesh.logger }

// Error makes the call's error of what ended it. endpoint is the last attempt's,
// empty if there was none.
func (c *Call) Error(endpoint string, err error) *CallError {
	return &CallError{Service: c.core.service.name, Endpoint: endpoint, Attempts: int(c.core.attempts.Load()), Err: err}
}

// End ends the call. code is its status code, and err what the caller was told.
func (c *Call) End(code int, err error, o balancer.Outcome) {
	k := &c.core
	if k.span != nil {
		k.endSpan(code, err, o)
	}
	if !k.hedge && k.service.throttle != nil {
		k.observe(o)
	}
	k.leave()
	k.service.release()
	if k.cancel != nil {
		k.cancel()
	}
}
