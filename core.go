package fairlead

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
	"github.com/fairlead-go/fairlead/tracing"
)

// core is what calls of every protocol have: a service, a context with the
// deadline and the span, and the rules by which attempt follows attempt.
type core struct {
	service  *service
	ctx      context.Context    // the caller's, with our deadline and span
	cancel   context.CancelFunc // nil without a deadline of ours
	timeout  *timeoutError      // the cause of that deadline; nil without
	span     *tracing.Call      // nil without tracing
	override *Override

	info     balancer.Info
	retry    retry.Call
	attempts atomic.Int32 // picked so far, less those that came to nothing
	unheard  bool         // nobody wanted to hear of calls when it began
	hedge    bool         // a call's second attempt beside its first, in a core of its own
	admitted bool         // it has a place of the service's limit
	hurried  bool         // less than half of WithTimeout was left when it had waited for room
}

// heard finds out whether somebody may want to hear of the call.
func (c *core) heard() bool {
	c.unheard = c.service.mesh.telemetry.Off()
	return !c.unheard
}

// trace begins the span of a call that is heard, if there is somebody to see it.
func (c *core) trace(method string) {
	ctx, span := c.service.mesh.telemetry.StartCall(c.ctx, c.service.name, method)
	if span.Enabled() {
		own := span
		c.ctx, c.span = ctx, &own
	}
}

// endSpan ends the call's span, which it must have.
func (c *core) endSpan(status int, err error, o balancer.Outcome) {
	c.span.End(tracing.CallResult{Attempts: int(c.attempts.Load()), StatusCode: status, Err: err, Outcome: o})
}

// others is whose nodes a call is picked among.
type others interface {
	Others(info *balancer.Info) bool
}

// bound puts the service's time limit, which it has, on the call, unless the caller's own
// ends it sooner.
func (c *core) bound() {
	due := time.Now().Add(c.service.settings.timeout)
	if callers, ok := c.ctx.Deadline(); ok && callers.Before(due) {
		return
	}
	c.timeout = newCallTimeout()
	c.ctx, c.cancel = context.WithDeadlineCause(c.ctx, due, c.timeout)
}

// timedOut reports whether the call's own WithTimeout ended it.
func (c *core) timedOut() bool {
	cause := context.Cause(c.ctx)
	return cause != nil && c.timeout != nil && errors.Is(cause, c.timeout)
}

func (c *core) remaining() time.Duration {
	deadline, ok := c.ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), 1)
}

// attemptTimeout returns the time limit of each attempt, 0 meaning none.
func (c *core) attemptTimeout() time.Duration {
	if o := c.override.AttemptTimeout; o != 0 {
		return max(o, 0)
	}
	return c.service.attempts.AttemptTimeout
}

// limit returns the time limit of the attempt that was just picked: that of a
// probe is short where another endpoint can answer the call.
func (c *core) limit(l *balancer.Lease, among others) time.Duration {
	limit := c.attemptTimeout()
	if l.Probe() && c.info.Retryable && among.Others(&c.info) {
		if due := linkOf(l.Node()).probeTimeout(); limit == 0 || limit > due {
			limit = due
		}
	}
	return limit
}

// next decides what follows an attempt that ended with o. The caller has the
// call avoid the attempt's node.
func (c *core) next(o balancer.Outcome, replayable bool, among others) retry.Decision {
	if o.Resend == balancer.ResendNever || c.override.Retry == RetryForbidden {
		return retry.Decision{Reason: retry.ReasonFinal}
	}
	if o.Resend == balancer.ResendAlways {
		c.service.refresh()
	}
	next := c.retry.Next(o, retry.Situation{
		Replayable: replayable,
		Others:     c.info.Endpoint == "" && among.Others(&c.info),
		Remaining:  c.remaining(),
	})
	c.service.mesh.telemetry.Retry(c.ctx, c.service.name, string(next.Reason))
	return next
}

// pause waits before the next attempt. cancelled is another way than the
// context's by which a call can be given up.
func (c *core) pause(d time.Duration, cancelled <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case <-cancelled:
		return context.Canceled
	case <-c.service.mesh.ended:
		return ErrClosed
	}
}

// noticeNoKey warns, once per service, of a hash policy that found no key.
func (c *core) noticeNoKey(l *balancer.Lease) {
	if l.Reason() == balancer.ReasonNoKey {
		c.service.warnNoKey()
	}
}
