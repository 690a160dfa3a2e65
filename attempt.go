package fairlead

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

const (
	drainBytes = 64 << 10 // of a losing response, so that its connection can be kept
	drainTime  = time.Second
)

// attempt is one try of a call on one endpoint. It lives until its response's
// body ends.
type attempt struct {
	call   *call
	lease  balancer.Lease
	ctx    context.Context         // nil where the caller's request is sent as it is
	cancel context.CancelCauseFunc // nil unless the attempt can end before its call
	timer  *time.Timer             // its time limit; nil without
	span   *tracing.Attempt        // nil where nobody wants to hear of it

	req    *http.Request // what is sent: the caller's, or a copy
	header bool          // req has a Header of its own
	stated bool          // a trace context was written into it
	resp   *http.Response
	err    error

	number     int32            // 1 for the call's first
	hedge      bool             // sent beside the first
	outcome    balancer.Outcome // where it is classified
	classified bool

	late     atomic.Bool // its time limit ran out
	finished atomic.Bool
}

// start makes ready to send. stoppable says that the attempt is to have a cancel.
func (a *attempt) start(stoppable bool) {
	c := a.call
	if c.unheard {
		a.ctx = c.ctx
	} else {
		a.trace()
	}
	if limit := c.limit(&a.lease, c.service.balancer); limit > 0 || stoppable {
		a.makeStoppable(limit)
	}
}

// trace begins the attempt's span and counts it, if there is somebody to see that.
func (a *attempt) trace() {
	ctx, span := a.call.service.mesh.telemetry.StartAttempt(a.call.ctx, a.info())
	a.ctx = ctx
	if span.Observed() {
		own := span
		a.span = &own
	}
}

// makeStoppable gives the attempt a cancel, and the time limit unless that is 0.
func (a *attempt) makeStoppable(limit time.Duration) {
	a.ctx, a.cancel = context.WithCancelCause(a.ctx)
	if limit > 0 {
		a.call.lent = true // to the timer
		a.timer = time.AfterFunc(limit, func() {
			a.late.Store(true)
			a.cancel(ErrAttemptTimeout)
		})
	}
}

// do sends the request to the attempt's endpoint and waits for the headers.
func (a *attempt) do() {
	a.resp, a.err = a.roundTrip() //nolint:bodyclose // closed where the attempt ends
	if a.timer != nil {
		a.endLimit()
	}
	if a.lease.Probe() {
		linkOf(a.lease.Node()).probed(a.err == nil, a.late.Load())
	}
}

// endLimit stops the time limit of an attempt that has come to something, which may have
// come too late.
func (a *attempt) endLimit() {
	if !a.timer.Stop() && a.err == nil {
		// The headers came with the limit: their body would break off.
		a.resp.Body.Close()
		a.resp, a.err = nil, ErrAttemptTimeout
	}
	if a.err != nil && a.late.Load() && a.call.ctx.Err() == nil {
		a.err = ErrAttemptTimeout
	}
}

func (a *attempt) info() *tracing.AttemptInfo {
	c, n := a.call, a.lease.Node()
	reason := a.lease.Reason()
	if a.hedge {
		reason = reasonHedge
	}
	return &tracing.AttemptInfo{
		Service: c.service.name, Endpoint: n.ID(), Addr: n.Addr(), Reason: reason,
		Resend: int(a.number) - 1, Request: c.req,
	}
}

// roundTrip sends what is prepared, and prepares it where nobody has.
func (a *attempt) roundTrip() (*http.Response, error) {
	l := linkOf(a.lease.Node())
	rt := l.ready.Load()
	if rt == nil {
		var err error
		if rt, err = l.makeReady(); err != nil {
			a.closeUnsent()
			return nil, err
		}
	}
	if a.req == nil {
		a.err = a.prepare()
	}
	if a.err != nil { // of a hedge since it was prepared
		a.closeUnsent()
		return nil, a.err
	}
	resp, err := rt.RoundTrip(a.req)
	if err != nil || resp == nil {
		return nil, noResponse(resp, err)
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	return resp, nil
}

// prepare makes the request to send. The caller's own is sent where it can be:
// a copy is made only for another context, body or header.
func (a *attempt) prepare() error {
	c := a.call
	a.req = c.req
	if a.hedge || c.derived || a.cancel != nil || a.span.Enabled() || c.replay != nil || a.number > 1 {
		if err := a.copyRequest(); err != nil {
			return err
		}
	}
	c.service.mesh.telemetry.Inject(a.ctx, carrier{a})
	return nil
}

// copyRequest makes the copy that is sent.
func (a *attempt) copyRequest() error {
	c := a.call
	if a.hedge || a.cancel != nil {
		// HTTP/2 may still look at the request of an attempt that was cut short when the
		// call is over, and its request the caller's again.
		a.req, a.header = c.req.Clone(a.ctx), true
		if !a.hedge {
			a.req.Trailer = c.req.Trailer // whose values may come with the end of the body
		}
	} else {
		a.req = c.req.WithContext(a.ctx)
	}
	switch {
	case c.replay != nil:
		body, err := c.replay.next()
		if err != nil {
			return &requestError{err}
		}
		a.req.Body = body
	case a.number > 1 && hasBody(c.req):
		body, err := c.req.GetBody()
		if err != nil {
			return &requestError{err}
		}
		a.req.Body = body
	}
	return nil
}

// closeUnsent closes the body of an attempt that cannot be sent: of a hedge its own, of
// the first the caller's.
func (a *attempt) closeUnsent() {
	switch {
	case a.hedge && a.err == nil:
		closeBody(a.req)
	case a.number == 1 && a.call.replay == nil:
		closeBody(a.call.req)
	}
}

// noResponse returns the error of a round trip without a response to use, and closes the
// body of one that came beside an error.
func noResponse(resp *http.Response, err error) error {
	if err == nil {
		return errors.New("fairlead: the endpoint's transport returned neither response nor error")
	}
	if resp != nil && resp.Body != nil {
		resp.Body.Close()
	}
	return err
}

// carrier writes the trace context into the attempt's request, which is copied
// when there is something to write.
type carrier struct{ *attempt }

func (c carrier) Get(key string) string { return c.req.Header.Get(key) }

func (c carrier) Set(key, value string) {
	if c.req == c.call.req {
		c.req = c.req.WithContext(c.ctx)
	}
	if !c.header {
		c.req.Header = maps.Clone(c.req.Header)
		c.header = true
	}
	if !c.stated && (key == "traceparent" || key == "tracestate") {
		c.stated = true
		c.req.Header.Del("Tracestate") // one copied from elsewhere must not go out beside our traceparent
	}
	c.req.Header.Set(key, value)
}

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c.req.Header))
	for k := range c.req.Header {
		keys = append(keys, k)
	}
	return keys
}

// report tells what became of the attempt.
func (a *attempt) report() {
	a.lease.Report(a.outcome)
	if a.span != nil {
		a.reportSpan()
	}
}

// reportSpan tells its span, which it must have.
func (a *attempt) reportSpan() {
	v := tracing.Verdict{Outcome: a.outcome, Err: a.err}
	if a.err != nil && a.overtaken() {
		v.Err = nil
	}
	if a.resp != nil {
		v.StatusCode, v.ProtoMajor, v.ProtoMinor = a.resp.StatusCode, a.resp.ProtoMajor, a.resp.ProtoMinor
	}
	a.span.Verdict(v)
}

// finish ends an attempt whose answer the caller does not have, once.
func (a *attempt) finish() {
	if a.finished.CompareAndSwap(false, true) {
		a.settle(nil)
	}
}

// settle is the end of the attempt. broken is what its body broke off with, which is a
// failure.
func (a *attempt) settle(broken error) {
	if broken != nil {
		a.lease.Report(balancer.Outcome{Verdict: balancer.Failure})
	}
	a.lease.Release()
	if a.span != nil {
		a.span.End(broken)
	}
	if a.cancel != nil {
		a.cancel(nil)
	}
	a.call.unuse()
}

// lose ends an attempt whose response nobody wants: a little of the body is
// read, so that the connection can be used again.
func (a *attempt) lose() {
	body := a.resp.Body
	if body == http.NoBody {
		a.finish()
		return
	}
	drain := func() {
		timer := time.AfterFunc(drainTime, func() { body.Close() })
		defer timer.Stop()
		_, _ = io.CopyN(io.Discard, body, drainBytes)
		body.Close()
		a.finish()
	}
	if !a.call.service.mesh.spawn(drain) {
		body.Close()
		a.finish()
	}
}
