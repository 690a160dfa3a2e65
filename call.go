package fairlead

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/retry"
)

// call is what the user asked for: one request, one answer, one or more
// attempts. It is one allocation for the call and its first attempt.
type call struct {
	core
	req     *http.Request // the caller's, never changed
	derived bool          // ctx is not the caller's own
	asIs    bool          // the first attempt may send the caller's request as it is, and has no limit unless it is a probe
	lent    bool          // others may look at it after its end
	over    atomic.Bool   // it has ended; of one with middleware
	users   atomic.Int32  // of ctx beside the call, where it has a cancel: the last of all cancels it
	outer   *call         // the call whose middleware sends this one; nil without

	replay  *replay     // nil where the body can be had again, or there is none
	last    *attempt    // nil before the first
	refused *unanswered // the last attempt without a response; nil without
	kept    *attempt    // has the last response, which is not handed out yet
	first   attempt
}

// unanswered is an attempt that brought no response.
type unanswered struct {
	err      error
	endpoint string
}

// newCall returns a call that begins, in the place of one that has ended where there
// is one.
func newCall(s *service, req *http.Request) *call {
	c, ok := s.mesh.calls.Get().(*call)
	if !ok {
		c = &call{}
	}
	c.req, c.service, c.ctx = req, s, req.Context()
	return c
}

// recycle lets another call have the place of this one, whose answer has ended, unless
// somebody might still look at it: another attempt may be drained for a while.
func (c *call) recycle() {
	if c.lent || c.attempts.Load() > 1 {
		return
	}
	m := c.service.mesh
	*c = call{}
	m.calls.Put(c)
}

// callOrFallBack makes a call, and lets the fallback answer it if it failed.
func (s *service) callOrFallBack(req *http.Request) (*http.Response, error) {
	s.refs.Add(1) // until the fallback has answered: a failed call may be over
	defer s.release()
	resp, foreign, err := s.call(req)
	if foreign {
		return resp, err
	}
	return s.fallBack(req, resp, err)
}

// call makes a call, unless its host is foreign. The service is acquired; the end of
// the call releases it.
func (s *service) call(req *http.Request) (resp *http.Response, foreign bool, err error) {
	c := newCall(s, req)
	if s.settings.timeout > 0 {
		c.guarded(c.bound)
	}
	if fallback := s.mesh.options.fallback; fallback != nil {
		// A foreign host is no call of ours: it has neither span nor deadline.
		if err = s.await(c.ctx, cancelled(req)); errors.Is(err, ErrUnknownService) {
			c.end(0, nil)
			resp, err = fallback.RoundTrip(req)
			return resp, true, err
		}
	}
	if c.heard() {
		c.guarded(func() { c.trace(req.Method) })
	}
	c.derived = c.cancel != nil || c.span != nil
	if err == nil {
		err = s.await(c.ctx, cancelled(req))
	}
	if err == nil && (s.throttle != nil || s.limiter != nil) {
		err = c.admitUnlessCancelled()
	}
	if err != nil {
		closeBody(req)
		err = c.explain(err, nil)
		c.end(0, err)
		return nil, false, err
	}
	if s.chain != nil {
		resp, err = c.throughChain()
	} else {
		resp, err = c.run()
	}
	return resp, false, err
}

// guarded makes ready for the call by do, and ends it where that panics.
func (c *call) guarded(do func()) {
	whole := false
	defer func() {
		if !whole { // code of the user's
			closeBody(c.req)
			c.end(0, nil)
		}
	}()
	do()
	whole = true
}

// admitUnlessCancelled is admit for a request that may have a Cancel of its own.
func (c *call) admitUnlessCancelled() error {
	if c.service.limiter == nil {
		return c.admit(nil)
	}
	stop, whole := c.stopped()
	defer whole()
	return c.admit(stop)
}

// stopped returns a channel that is closed when the request is cancelled or the Mesh
// is closed, until whole is called.
func (c *call) stopped() (stop <-chan struct{}, whole func()) {
	ended := c.service.mesh.ended
	if cancelled(c.req) == nil {
		return ended, func() {}
	}
	cancelled, either, done := cancelled(c.req), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(either)
		select {
		case <-cancelled:
		case <-ended:
		case <-done:
		}
	}()
	return either, func() { close(done) }
}

// run sends attempts until one of them answers the call, or none will.
func (c *call) run() (*http.Response, error) {
	whole := false
	defer func() {
		if !whole {
			c.abandon()
		}
	}()
	c.begin()
	resp, err := c.send()
	whole = true
	return resp, err
}

// abandon ends a call in which code of the user's panicked.
func (c *call) abandon() {
	for _, a := range []*attempt{c.last, c.kept} {
		if a == nil {
			continue
		}
		if a.resp != nil {
			a.resp.Body.Close()
		}
		if a.req != nil {
			closeBody(a.req)
		}
		a.finish()
	}
	c.decide()
	if c.replay == nil {
		closeBody(c.req)
	}
	c.end(0, nil)
}

func (c *call) send() (*http.Response, error) {
	for {
		a, err := c.pick()
		if err != nil {
			return c.concludeWithout(err)
		}
		switch {
		case c.service.hedger != nil:
			a = c.tryHedged(a)
			c.last = a
		case c.asIs && a.number == 1 && !a.lease.Probe() && c.service.mesh.telemetry.Bare(c.ctx):
			a.req = c.req // all that start and prepare would come to
			a.resp, a.err = a.roundTrip()
		default:
			a.start(false)
			a.do()
		}
		if !a.classified {
			c.classify(a)
		}
		c.tell(a)
		if a.resp != nil && a.outcome.Resend == balancer.ResendNever {
			return c.answer(a) // as nearly all are: next would say ReasonFinal
		}
		c.info.Avoid(a.lease.Node())
		next := c.next(a.outcome, c.replayable(), c.service.balancer)
		if !next.Again {
			if a.resp != nil {
				return c.answer(a)
			}
			return c.conclude(a, next)
		}
		c.keep(a)
		if err := c.pause(next.Wait, cancelled(c.req)); err != nil {
			return c.concludeWithout(err)
		}
	}
}

// tryHedged sends an attempt of a service that has hedges, and returns it or the one that
// was sent beside it: whichever the call is to be judged by.
func (c *call) tryHedged(a *attempt) *attempt {
	if h := c.hedged(a); h != nil {
		return h.run()
	}
	a.start(false)
	a.do()
	return a
}

func (c *call) begin() {
	s, req := c.service, c.req
	c.override = overrideFrom(c.ctx)
	c.info.Context = c.ctx
	if s.settings.forwarded {
		c.identify()
	}
	c.info.Endpoint = c.override.Endpoint
	c.retry = s.retry.Prepare(s.safeToRepeat(req, c.override))
	if hasBody(req) && req.GetBody == nil {
		c.replay = newReplay(req.Body)
	}
	c.asIs = c.unheard && !c.derived && c.replay == nil && c.attemptTimeout() == 0
}

// pick chooses the endpoint of the next attempt.
func (c *call) pick() (*attempt, error) {
	c.info.Retryable = c.info.Endpoint == "" && c.replayable() && c.retry.Retryable()
	a := &c.first
	if c.attempts.Load() > 0 {
		a = &attempt{}
	}
	var err error
	if c.service.limiter == nil {
		err = c.service.balancer.PickInto(&a.lease, &c.info)
	} else {
		err = c.leaseLimited(&a.lease)
	}
	if err != nil {
		return nil, err
	}
	a.call, a.number, c.last = c, c.attempts.Add(1), a
	c.use()
	c.noticeNoKey(&a.lease)
	return a, nil
}

// leaseLimited picks where there are limits, for the first attempt as soon as there is room.
func (c *call) leaseLimited(l *balancer.Lease) error {
	if c.queues(nil) {
		return c.awaitRoom(l)
	}
	err := c.service.balancer.PickInto(l, &c.info)
	if err != nil && c.info.Full() && c.attempts.Load() == 0 {
		return c.awaitRoom(l)
	}
	return err
}

// awaitRoom picks as soon as not all endpoints are full.
func (c *call) awaitRoom(l *balancer.Lease) (err error) {
	c.lent = true // to the queue
	stop, whole := c.stopped()
	defer whole()
	full := c.service.limiter.AwaitRoom(c.ctx, stop, c.want(nil), func() bool {
		err = c.service.balancer.PickInto(l, &c.info)
		return err != nil && c.info.Full()
	})
	if full != nil {
		return full
	}
	c.hurry()
	return err
}

func (c *call) replayable() bool { return c.replay == nil || c.replay.replayable() }

// tell tells everybody what became of the attempt.
func (c *call) tell(a *attempt) {
	a.lease.Report(a.outcome) // this is report, written out: nearly all attempts come by here
	if a.span != nil {
		a.reportSpan()
	}
	c.retry.CountAt(a.lease.Reported())
	if a.resp != nil {
		c.service.answered(c.req)
	}
}

// keep remembers a failed attempt's response, in case there is no better one.
func (c *call) keep(a *attempt) {
	if c.replay != nil {
		c.replay.cut()
	}
	if a.resp == nil {
		c.refused = &unanswered{a.err, a.lease.Node().ID()}
		a.finish()
		return
	}
	if c.kept != nil {
		c.kept.lose()
	}
	c.kept = a
	a.lease.BecomesStream() // it waits for a better one, which may want its place
}

// conclude ends the call, whose last attempt brought no response, with its error or with
// the last response there was.
func (c *call) conclude(a *attempt, why retry.Decision) (*http.Response, error) {
	err := a.err
	if why.Reason == retry.ReasonBudget {
		err = fmt.Errorf("%w (%w)", err, retry.ErrBudget)
	}
	err = c.explain(err, a)
	a.finish()
	return c.fail(err)
}

// concludeWithout ends a call that could not have another attempt.
func (c *call) concludeWithout(err error) (*http.Response, error) {
	if c.attempts.Load() == 0 && c.replay == nil {
		closeBody(c.req)
	}
	return c.fail(c.explain(err, nil))
}

// fail ends the call with an error, unless there is a response and somebody to
// take it.
func (c *call) fail(err error) (*http.Response, error) {
	if c.kept != nil {
		if c.ctx.Err() == nil && !isClosed(cancelled(c.req)) {
			return c.answer(c.kept)
		}
		c.kept.lose()
	}
	c.decide()
	c.end(0, err)
	return nil, err
}

func (c *call) decide() {
	if c.replay != nil {
		c.replay.decide()
	}
}

// end is the end of the call: of its answer's body, or without one.
func (c *call) end(status int, err error) {
	if c.outer != nil {
		c.outer.attempts.Add(c.attempts.Load())
	}
	if c.span != nil || c.service.throttle != nil {
		var o balancer.Outcome
		if c.last != nil {
			o = c.last.outcome
		}
		if c.span != nil {
			c.endSpan(status, err, o)
		}
		if c.service.throttle != nil {
			c.observe(o)
		}
	}
	c.leave()
	var at monotime.Time
	if c.last != nil {
		at = c.last.lease.Reported() // when it was answered
	}
	c.service.releaseAt(at)
	c.unuse()
}

// unuse cancels the call's context when neither the call nor an attempt needs it
// any more: a losing response is still drained when the call has ended.
func (c *call) unuse() {
	if c.cancel != nil && c.users.Add(-1) < 0 {
		c.cancel()
	}
}

// use keeps the call's context for an attempt.
func (c *call) use() {
	if c.cancel != nil {
		c.users.Add(1)
	}
}

// explain makes the call's error of an attempt's, or of what prevented one.
func (c *call) explain(err error, a *attempt) error {
	if c.gone(err) {
		switch cause := context.Cause(c.ctx); {
		case cause != nil:
			return cause
		case c.service.mesh.closed.Load():
			return ErrClosed
		case isClosed(cancelled(c.req)):
			return err
		}
		return context.DeadlineExceeded
	}
	if errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	if c.timedOut() && !errors.Is(err, ErrTimeout) {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	e := &CallError{Service: c.service.name, Attempts: int(c.attempts.Load()), Err: err}
	if r := c.refused; r != nil {
		e.Endpoint = r.endpoint
	}
	switch {
	case a != nil:
		e.Endpoint = a.lease.Node().ID()
	case c.refused != nil:
		e.Err = fmt.Errorf("%w (and then: %w)", c.refused.err, err)
	}
	return e
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
