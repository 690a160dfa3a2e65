package fairlead

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// Classifier says what became of an attempt. Exactly one of resp and err is
// nil. It must leave resp's body alone and must not block. ctx is the caller's.
//
// It is not asked where the answer is known to be nobody's fault: the caller
// went away, or the request itself could not be sent.
type Classifier func(ctx context.Context, resp *http.Response, err error) balancer.Outcome

// Classify is the default [Classifier]:
//
//	no connection                   failure, any call may be sent again
//	HTTP/2 REFUSED_STREAM           overload, any call may be sent again
//	other errors, timeouts of ours  failure, safe calls may be sent again
//	429                             overload, safe calls may be sent again
//	503 with a readable Retry-After overload, the endpoint cools, safe calls may be sent again
//	502, 503, 504                   failure, safe calls may be sent again
//	other 5xx but 501               failure
//	421                             success, any call may be sent again
//	everything else                 success
func Classify(_ context.Context, resp *http.Response, err error) balancer.Outcome {
	if err != nil {
		return classifyError(err)
	}
	if resp.StatusCode < lowestFault {
		return balancer.Outcome{Verdict: balancer.Success}
	}
	asked, told := retryAfter(resp.Header, time.Now)
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		return balancer.Outcome{
			Verdict:    balancer.Overload,
			Resend:     balancer.ResendIfSafe,
			RetryAfter: asked,
		}
	case code == http.StatusServiceUnavailable && told:
		return balancer.Outcome{Verdict: balancer.Overload, Resend: balancer.ResendIfSafe, RetryAfter: asked, Cool: asked}
	case code == http.StatusMisdirectedRequest:
		return balancer.Outcome{Verdict: balancer.Success, Resend: balancer.ResendAlways}
	case code < 500 || code == http.StatusNotImplemented:
		return balancer.Outcome{Verdict: balancer.Success}
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
	}
	return balancer.Outcome{Verdict: balancer.Failure}
}

// lowestFault is the lowest status code that says that something is at fault.
const lowestFault = 400

func classifyError(err error) balancer.Outcome {
	var noConnection *dialError
	if errors.As(err, &noConnection) {
		return balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendAlways}
	}
	var stream streamError
	if errors.As(err, &stream) && stream.Code == refusedStream {
		return balancer.Outcome{Verdict: balancer.Overload, Resend: balancer.ResendAlways}
	}
	return balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
}

// classifier is the user's, or Classify.
func (s *settings) classifier() Classifier {
	if s.classify == nil {
		return Classify
	}
	return s.classify
}

// classify finds the verdict on an attempt.
func (c *call) classify(a *attempt) {
	switch s := &c.service.settings; {
	case a.err != nil:
		a.outcome = c.classifyError(a)
	case s.classify == nil && a.resp.StatusCode < lowestFault: // as Classify says of nearly all
		a.outcome = balancer.Outcome{Verdict: balancer.Success}
	default:
		a.outcome = s.classifier()(c.ctx, a.resp, nil)
	}
	a.classified = true
}

// classifyError is classify for an attempt without a response. Where the caller went away
// or the request is at fault, it is nobody's failure.
func (c *call) classifyError(a *attempt) balancer.Outcome {
	if c.hurried && c.timedOut() {
		return c.queueTook()
	}
	if a.overtaken() || c.gone(a.err) || c.ownFault(a.err) {
		return balancer.Outcome{}
	}
	o := c.service.settings.classifier()(c.ctx, nil, a.err)
	if context.Cause(c.ctx) != nil {
		o.Resend = balancer.ResendNever // our own deadline: there is no time left
	}
	return o
}

// ownFault reports whether an attempt failed because the request cannot be sent.
func (c *call) ownFault(err error) bool {
	var fault *requestError
	var noConnection *dialError
	switch {
	case errors.As(err, &fault) || !sendable(c.req):
		return true
	case errors.As(err, &noConnection) || errors.Is(err, ErrAttemptTimeout):
		return false // and the body need not be looked at
	}
	if c.replay != nil {
		return c.replay.failed() || c.replay.mismatches(c.req.ContentLength)
	}
	return !wholeBody(c.req)
}

// gone reports whether err came because the caller went away, or the Mesh was closed.
func (c *call) gone(err error) bool {
	if c.ctx.Err() != nil {
		return !c.timedOut()
	}
	if isClosed(cancelled(c.req)) || c.service.mesh.closed.Load() {
		return true
	}
	// A dialer or a connection sees a deadline a moment before its context does.
	deadline, ok := c.req.Context().Deadline()
	return ok && isTimeout(err) && time.Until(deadline) <= 0
}

// refusedStream is HTTP/2's REFUSED_STREAM: the stream was closed before any
// processing (RFC 9113, section 8.7).
const refusedStream = 0x7

// streamError has the shape of the HTTP/2 stream error inside net/http, whose As
// method fills any struct of this shape.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream error " + strconv.Itoa(int(e.Code)) }

// maxRetryAfter bounds what is read from a Retry-After, far above what is heeded.
const maxRetryAfter = 24 * time.Hour

// retryAfter returns how long an answer asks its caller to wait, by RFC 9110,
// section 10.2.3: seconds or a date. told is false where it does not say, or not
// readably.
func retryAfter(h http.Header, now func() time.Time) (asked time.Duration, told bool) {
	value := h.Get("Retry-After")
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second, true
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now()), 0), maxRetryAfter), true
}
