package fairlead

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

// WithHedge sends a call that has waited longer than nearly all others once
// more, to another endpoint, and takes the answer that comes first. It is for
// calls that are safe to repeat and whose slowest few matter. The default is not
// to hedge; retry.Hedge{} hedges the slowest half percent.
//
// A hedge is paid for by the retry budget and is not one of retry.Config's Attempts.
// There is at most one for each call, beside its first attempt, and only where another
// endpoint is ready. A request whose body can be read but once, one that asks for an
// upgrade, a pinned one and the probe of a half-open endpoint are not hedged. Of
// gRPC, unary calls are whose request and reply are proto.Messages.
//
// Hedge with balancer.PeakEWMA: other policies do not learn that an endpoint is
// slow from attempts that are cut short, and send it more of them.
//
// An attempt that was cut short tells breakers nothing, so that an endpoint that
// hangs is not found broken by hedged calls: [WithHealthCheck] finds it.
//
// Once one attempt is answered, the other is cancelled: that is nobody's failure.
// While both are under way, a failure of one is not the call's.
func WithHedge(h retry.Hedge) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := h.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithHedge: %w", err)
		}
		s.hedge = &h
		return nil
	})
}

func (s *service) newHedger() (err error) {
	if h := s.settings.hedge; h != nil {
		s.hedger, err = retry.NewHedger(*h)
	}
	return err
}

// errOvertaken is why an attempt was cancelled whose call was answered by another.
var errOvertaken = errors.New("fairlead: another attempt answered the call")

// reasonHedge is why a second attempt's endpoint was picked.
const reasonHedge = "hedge"

// hedge is a call's first attempt and, if that takes long, its second.
type hedge struct {
	call  *call
	first *attempt
	wait  time.Duration // until the second; 0: there will be none
	done  chan struct{} // closed when the second, if it was sent, has come to something

	mu       sync.Mutex     // of this call alone: user's code may run under it
	over     bool           // nobody wants a second, or its answer; guarded by mu
	waiting  bool           // the first has failed, and its second is to answer; guarded by mu
	second   *attempt       // nil until sent; guarded by mu
	finished bool           // it has come to something; guarded by mu
	won      bool           // with it; guarded by mu
	kept     bool           // it failed, and is what the call is judged by; guarded by mu
	judged   chan struct{}  // closed when its verdict is found; nil before the search; guarded by mu
	spent    *balancer.Node // where it failed while the first was under way; guarded by mu
}

// hedged returns the hedge of an attempt of a service that has them, nil where it is not
// to have one.
func (c *call) hedged(a *attempt) *hedge {
	s := c.service
	if a.number > 1 || !c.retry.Safe() || c.replay != nil || c.info.Endpoint != "" ||
		a.lease.Probe() || c.req.Header.Get("Upgrade") != "" {
		return nil
	}
	wait, _ := s.hedger.Wait()
	c.lent = true
	return &hedge{call: c, first: a, wait: wait, done: make(chan struct{})}
}

// run sends the first attempt, and the second where it takes too long. It returns
// the one that the call is to be judged by.
func (h *hedge) run() *attempt {
	a := h.first
	whole := false
	defer func() {
		if !whole { // code of the user's panicked
			h.abandon()
		}
	}()
	a.start(h.wait > 0)
	began := time.Now()
	if h.wait > 0 {
		timer := time.AfterFunc(h.wait, func() { h.call.service.mesh.spawn(h.send) })
		defer timer.Stop()
	}
	a.do()
	h.call.classify(a)
	a.outcome.Overtaken = a.err != nil && a.overtaken()
	h.observe(time.Since(began))
	chosen := h.choose()
	whole = true
	return chosen
}

// abandon ends the second attempt, whatever it has come to.
func (h *hedge) abandon() {
	if !h.cancel() {
		<-h.done
	}
	h.mu.Lock()
	kept := h.won || h.kept
	h.mu.Unlock()
	if kept {
		h.second.drop()
	}
}

// observe tells the hedger of the first attempt. One that was cancelled would
// have taken longer, and one that failed fast tells nothing.
func (h *hedge) observe(took time.Duration) {
	if a := h.first; a.answered() || took >= h.wait && h.wait > 0 {
		h.call.service.hedger.Observe(took)
	}
}

// choose is called when the first attempt has come to something. One that failed is
// told of before its second is waited for. A second that failed before it is over and
// done with, and the first is what the call is judged by.
func (h *hedge) choose() *attempt {
	a, c := h.first, h.call
	if h.awaits() {
		c.tell(a) // its node is avoided since begin
		c.keep(a)
		<-h.done
		if h.won && c.kept == a {
			c.kept = nil
			a.lose()
		}
		return h.second
	}
	if h.cancel() {
		if h.spent != nil {
			c.info.Avoid(h.spent)
		}
		return a
	}
	<-h.done
	a.drop() // the other was faster, be it by a moment
	return h.second
}

// awaits reports whether the first attempt failed while its second is under way.
func (h *hedge) awaits() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = h.second != nil && !h.finished && !h.first.answered()
	return h.waiting
}

// cancel ends the second attempt, or sees to it that there will be none. It
// reports false where that one has answered meanwhile.
func (h *hedge) cancel() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if judged := h.judged; judged != nil && !h.finished {
		h.mu.Unlock()
		<-judged // until then, the caller's request is looked at
		h.mu.Lock()
	}
	if h.won {
		return false
	}
	h.over = true
	if a := h.second; a != nil && a.cancel != nil { // nil where its start panicked
		a.cancel(errOvertaken)
	}
	return true
}

// send sends the second attempt, on a goroutine of its own.
func (h *hedge) send() {
	defer close(h.done)
	whole := false
	defer func() {
		if !whole {
			h.panicked(recover())
		}
	}()
	if a := h.begin(); a != nil {
		stop := context.AfterFunc(h.call.service.ctx, func() { a.cancel(ErrClosed) })
		defer stop()
		a.do()
		h.end()
	}
	whole = true
}

// begin returns the second attempt, nil where there is to be none.
func (h *hedge) begin() *attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, s := h.call, h.call.service
	if h.over {
		return nil
	}
	c.info.Avoid(h.first.lease.Node())
	c.info.Retryable = false
	if r := c.remaining(); r > 0 && r < h.wait {
		return nil // it could hardly finish
	}
	if !s.balancer.Others(&c.info) {
		return nil
	}
	if !c.retry.Hedge() {
		s.mesh.telemetry.Hedge(c.ctx, s.name, "budget")
		return nil
	}
	c.info.Hedge = true
	defer func() { c.info.Hedge = false }() // code of the user's may panic
	lease, err := s.balancer.Pick(&c.info)
	if err != nil {
		return nil
	}
	a := &attempt{call: c, lease: lease, number: c.attempts.Add(1), hedge: true}
	c.use()
	h.second = a
	a.start(true)
	a.err = a.prepare() // now: the caller's request is the caller's again when the call is over
	return a
}

// end is called when the second attempt has come to something. One that nobody is to
// judge by is let go of at once, with its place at its endpoint.
func (h *hedge) end() {
	result, dropped := h.conclude()
	if dropped {
		h.second.drop()
	}
	if result == hedgeWon {
		h.first.cancel(errOvertaken)
	}
	h.tell(result)
}

// What a second attempt can come to.
const (
	hedgeWon    = "won"    // the call is answered by it
	hedgeLost   = "lost"   // the first was faster
	hedgeFailed = "failed" // while the call had no answer
)

// judge finds the verdict on the second attempt. The call cannot end meanwhile: its
// request is not yet the caller's again.
func (h *hedge) judge() {
	a := h.second
	h.mu.Lock()
	if a.classified || h.over && a.err != nil {
		h.mu.Unlock()
		return
	}
	judged := make(chan struct{})
	h.judged = judged
	h.mu.Unlock()
	defer close(judged)
	h.call.classify(a)
}

// conclude finds out what the second attempt came to, and whether nobody is to judge
// by it.
func (h *hedge) conclude() (result string, dropped bool) {
	h.judge()
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.second
	h.finished = true
	switch {
	case h.over:
		return hedgeLost, true
	case a.answered():
		h.won = true
		return hedgeWon, false
	case !h.waiting:
		h.spent = a.lease.Node()
		return hedgeFailed, true
	}
	h.kept = true
	return hedgeFailed, false
}

func (h *hedge) tell(result string) {
	h.call.service.mesh.telemetry.Hedge(h.call.ctx, h.call.service.name, result)
}

// panicked takes in that code of the user's panicked on the goroutine of the second
// attempt, or ended it (v is nil then), where nobody of theirs could recover: that
// attempt failed.
func (h *hedge) panicked(v any) {
	h.call.service.mesh.logger.Error("fairlead: panic in a hedge", "service", h.call.service.name, "panic", v, "stack", string(debug.Stack()))
	h.mu.Lock()
	a, finished := h.second, h.finished
	h.mu.Unlock()
	if a == nil || finished {
		return
	}
	if a.resp != nil {
		a.resp.Body.Close()
	}
	a.resp, a.err = nil, fmt.Errorf("fairlead: panic: %v", v)
	a.outcome, a.classified = balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}, true
	h.end()
}

// answered reports whether the attempt brought an answer that is worth not
// waiting for another.
func (a *attempt) answered() bool {
	v := a.outcome.Verdict
	return a.err == nil && v != balancer.Failure && v != balancer.Overload
}

// overtaken reports whether the attempt was cancelled for the other's sake.
func (a *attempt) overtaken() bool {
	return a.cancel != nil && errors.Is(context.Cause(a.ctx), errOvertaken)
}

// drop ends an attempt that nobody wants to hear of.
func (a *attempt) drop() {
	a.report()
	if a.resp != nil {
		a.lose()
		return
	}
	a.finish()
}
