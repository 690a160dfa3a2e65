package grpcbalancer

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

// errNothingSent is the verdict on an attempt whose connection was just lost.
var errNothingSent = errors.New("grpcbalancer: the connection was lost before anything was sent")

// try is an attempt, from its pick to its end, apart from what gRPC sees of it.
type try struct {
	call  *call         // nil where no interceptor of ours began it
	info  balancer.Info // of an attempt without a call
	ctx   context.Context
	lease balancer.Lease
	link  *link
	span  tracing.Attempt
	timer *time.Timer // ends it, or its being a probe; nil without
	md    metadata.MD // to be sent; nil without
}

// pickInfo returns what a pick for an attempt in ctx knows of its call.
func (t *try) pickInfo(ctx context.Context, service *fairlead.Service) *balancer.Info {
	t.ctx = ctx
	if c := callOf(ctx); c != nil && c.core.Balancer() == service.Balancer() {
		t.call = c
		return c.core.Info()
	}
	t.info.Context = ctx
	return &t.info
}

// beginLocked is called when the attempt has a node and a connection. The call's mu is held.
func (t *try) beginLocked(p *policy, method string) {
	c := t.call
	c.sent, c.refusal, c.policy = true, nil, p
	c.node = t.lease.Node()
	whole := false
	defer func() {
		if !whole { // code of the user's panicked
			t.lease.Release()
			t.span.End(nil)
		}
	}()
	ctx, span, limit := c.core.Attempt(&t.lease, p.view, method)
	t.span = span
	c.core.Telemetry().Inject(ctx, (*carrier)(t))
	switch round := c.round; {
	case c.stop != nil && limit > 0:
		t.timer = time.AfterFunc(limit, func() { c.expire(round) })
	case c.stream.is && t.lease.Probe():
		t.timer = time.AfterFunc(silentProbe, func() { c.report(t, balancer.Outcome{}) })
	}
	c.stream.current = t
	whole = true
}

// ending is what is known of an attempt that is over, or never was.
type ending struct {
	err      error // nil where all went well, or nothing was begun
	trailer  metadata.MD
	sent     bool // something was, to the endpoint
	received bool // something was, from the endpoint
	closing  bool // the ClientConn is
}

// end is called once.
func (t *try) end(e ending) {
	c := t.call
	if c == nil {
		t.lease.Report(t.outcome(e))
		t.lease.Release()
		return
	}
	if c.endAttempt(t, e) {
		c.settle()
	}
}

// endAttempt reports whether the attempt was the last of gRPC's stream.
func (c *call) endAttempt(t *try, e ending) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
	o := t.outcome(e)
	if o.Resend != balancer.ResendNever {
		c.core.Info().Avoid(t.lease.Node())
	}
	if t.lease.Probe() {
		c.core.Probed(t.lease.Node(), e.received && !c.late.Load(), c.late.Load())
	}
	switch {
	case o.Verdict == balancer.Failure && cutOff(e.err):
		t.link.silent.Store(true)
	case o.Verdict == balancer.Success && t.link.silent.Load():
		t.link.silent.Store(false)
	}
	t.verdict(o, e)
	c.outcome = o
	c.sent = c.sent && (e.sent || e.err != nil)
	t.lease.Report(o)
	t.lease.Release()
	t.span.End(nil)
	c.stream.current = nil
	return c.stream.finished
}

// outcome is neutral where nothing was sent, where the end of the ClientConn broke
// the attempt off, and where the request was too large for the caller's own limit.
func (t *try) outcome(e ending) balancer.Outcome {
	code := status.Code(e.err)
	switch {
	case e.err != nil && e.closing:
		return balancer.Outcome{}
	case t.call != nil && cutOff(e.err) && t.call.late.Load():
		return balancer.Outcome{Verdict: balancer.Failure, Resend: resendAfter(e)}
	case t.call != nil && cutOff(e.err) && t.call.core.TimedOut() && t.call.core.Hurried():
		return balancer.Outcome{Verdict: balancer.Suspect} // unless its peers do better, the queue took too long
	case t.call != nil && cutOff(e.err) && t.call.core.TimedOut():
		return balancer.Outcome{Verdict: balancer.Failure}
	case !e.sent && code == codes.Unavailable && !ended(t.ctx):
		return balancer.Outcome{Resend: balancer.ResendAlways}
	case !e.sent || code == codes.ResourceExhausted && !e.received:
		return balancer.Outcome{}
	case e.err == nil:
		return balancer.Outcome{Verdict: balancer.Success}
	case ended(t.ctx):
		return balancer.Outcome{Overtaken: errors.Is(context.Cause(t.ctx), errOvertaken)}
	}
	return classify(code, e.trailer)
}

// resendAfter says whether an attempt that ran out of time may be followed by
// another: it may have waited for room on its connection all the while.
func resendAfter(e ending) balancer.Resend {
	if !e.sent {
		return balancer.ResendAlways
	}
	return balancer.ResendIfSafe
}

// verdict tells the attempt's span and the metrics.
func (t *try) verdict(o balancer.Outcome, e ending) {
	v := tracing.Verdict{StatusCode: int(status.Code(e.err)), Outcome: o, Err: e.err}
	switch {
	case e.err == nil && !e.sent:
		t.call.core.Unsent()
		v.Err = errNothingSent
	case cutOff(e.err) && t.call.late.Load():
		v.StatusCode, v.Err = int(codes.DeadlineExceeded), fairlead.ErrAttemptTimeout
	}
	t.span.Verdict(v)
}

// carrier writes the trace context into the attempt's metadata.
type carrier try

func (c *carrier) Get(key string) string {
	if values := c.md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set leaves out what cannot be sent, and gRPC would not look at: the whole call
// would fail.
func (c *carrier) Set(key, value string) {
	key = strings.ToLower(key)
	if !validKey(key) || !validValue(key, value) {
		return
	}
	if c.md == nil {
		c.md = make(metadata.MD, 2)
	}
	c.md[key] = []string{value}
}

// validKey reports whether a key may be one of metadata.
func validKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// validValue reports whether a value is printable ASCII, or encoded by gRPC.
func validValue(key, value string) bool {
	return strings.HasSuffix(key, "-bin") || !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

func (c *carrier) Keys() []string {
	keys := make([]string, 0, len(c.md))
	for k := range c.md {
		keys = append(keys, k)
	}
	return keys
}

// willInject reports whether attempts will have a trace context or the like in their
// metadata, though they have no spans: the caller's own.
func (c *call) willInject() bool {
	c.core.Telemetry().Inject(c.Context, (*dryRun)(c))
	return c.injects
}

// dryRun learns whether anything would be written into a carrier.
type dryRun call

func (d *dryRun) Get(string) string  { return "" }
func (d *dryRun) Set(string, string) { d.injects = true }
func (d *dryRun) Keys() []string     { return nil }
