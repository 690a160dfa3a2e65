package fairlead

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/fairlead-go/fairlead/balancer"
)

// Fallback answers a call that failed. Exactly one of resp and err is not nil: resp
// where the last endpoint's answer was a failure or overload, as a 503 is, err where
// there was none. What it returns is what the caller gets: resp and err themselves,
// to leave the failure as it is, or another response, or another error. Of a response
// that it does not return the Mesh closes the body. req is the caller's, must not be
// changed, and its body is gone; the answer may be late, since req's deadline still
// holds.
type Fallback func(req *http.Request, resp *http.Response, err error) (*http.Response, error)

// WithFallback has f answer the HTTP calls that failed in the end, after all retries:
// with what is remembered of the last good answer, for instance. It is not called
// where the caller's own context ended, the service is unknown or the Mesh is closed.
// The default is to hand the failure on. It stands outside [WithMiddleware], which
// sees the failure, and also answers calls that [WithLimit] or [WithThrottle] refused.
// What f answers counts for nobody: breakers, budget and telemetry see the failure.
// For hosts that are no services see [WithFallbackTransport]; for gRPC an interceptor
// of yours does the same.
func WithFallback(f Fallback) ServiceOption {
	return serviceOption(func(s *settings) error {
		if f == nil {
			return errors.New("fairlead: WithFallback: the function is nil, want one that answers a failed call")
		}
		s.fallback = f
		return nil
	})
}

// fallBack lets the service's fallback answer a call that failed.
func (s *service) fallBack(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	whole := false
	defer func() {
		if !whole && resp != nil {
			resp.Body.Close() // code of the user's panicked
		}
	}()
	if !s.fallsBack(req, resp, err) {
		whole = true
		return resp, err
	}
	instead, why := s.settings.fallback(req, resp, err)
	whole = true
	if resp != nil && instead != resp {
		resp.Body.Close()
	}
	switch {
	case why != nil && instead != nil:
		if instead.Body != nil {
			instead.Body.Close()
		}
		return nil, why
	case why == nil && instead == nil:
		return nil, fmt.Errorf("fairlead: WithFallback: the function for service %q returned neither response nor error", s.name)
	case instead != nil && instead.Body == nil:
		instead.Body = http.NoBody
	}
	if instead != nil && instead.Request == nil {
		instead.Request = req
	}
	return instead, why
}

// fallsBack reports whether a call came to what a fallback is for.
func (s *service) fallsBack(req *http.Request, resp *http.Response, err error) bool {
	if err != nil {
		return req.Context().Err() == nil && !isClosed(cancelled(req)) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnknownService)
	}
	v := s.settings.classifier()(req.Context(), resp, nil).Verdict
	return v == balancer.Failure || v == balancer.Overload
}
