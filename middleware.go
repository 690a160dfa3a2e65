package fairlead

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// wrap puts the user's middleware around the service's calls.
func (s *service) wrap() (http.RoundTripper, error) {
	if len(s.settings.middleware) == 0 {
		return nil, nil
	}
	var rt http.RoundTripper = innerTransport{s}
	for i, m := range slices.Backward(s.settings.middleware) {
		if rt = m(rt); isNil(rt) {
			return nil, fmt.Errorf("fairlead: WithMiddleware: middleware %d returned nil, want a RoundTripper", i)
		}
	}
	return rt, nil
}

// throughChain makes the call by way of the user's middleware, which sends it on
// as a call of its own within this one's deadline and span.
func (c *call) throughChain() (*http.Response, error) {
	c.lent = true // to those inside
	whole := false
	defer func() {
		if !whole { // code of the user's panicked
			closeBody(c.req)
			c.endOuter(0, nil)
		}
	}()
	resp, err := c.service.chain.RoundTrip(c.req.WithContext(context.WithValue(c.ctx, outerKey{}, c)))
	whole = true
	if err != nil && resp != nil && resp.Body != nil {
		resp.Body.Close()
	}
	if err == nil && resp == nil {
		err = errors.New("fairlead: the middleware returned neither response nor error")
	}
	if err != nil {
		c.endOuter(0, err)
		return nil, err
	}
	resp.Request = c.req
	if resp.StatusCode == http.StatusSwitchingProtocols {
		c.leave()
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		resp.Body = http.NoBody
		c.endOuter(resp.StatusCode, nil)
		return resp, nil
	}
	resp.Body = endOf(resp.Body, func(err error) { c.endOuter(resp.StatusCode, err) })
	return resp, nil
}

// endOuter is end for a call with middleware, which is to be seen by those inside.
func (c *call) endOuter(status int, err error) {
	c.over.Store(true)
	c.end(status, err)
}

type outerKey struct{}

// innerTransport is where a service's middleware ends.
type innerTransport struct{ service *service }

// RoundTrip makes a call of its own, with a reference of its own: a middleware
// may send more than once, later, or under another context.
func (t innerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !isCall(req) {
		closeBody(req)
		return nil, notCall(req)
	}
	outer, _ := req.Context().Value(outerKey{}).(*call)
	s, err := t.acquire(outer)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	c := newCall(s, req)
	if c.outer = outer; outer != nil {
		c.timeout, c.hurried = c.outer.timeout, c.outer.hurried
	}
	if err := s.await(c.ctx, cancelled(req)); err != nil {
		closeBody(req)
		err = c.explain(err, nil)
		c.end(0, err)
		return nil, err
	}
	return c.run()
}

// acquire keeps the service for a call within outer, which is nil where the middleware
// sends under a context of its own. What outer's middleware sends belongs to a call in
// flight: a Shutdown that began meanwhile waits for it.
func (t innerTransport) acquire(outer *call) (*service, error) {
	if outer != nil && outer.service == t.service && !outer.over.Load() && t.service.acquire() {
		return t.service, nil
	}
	return t.service.mesh.acquire(t.service.name)
}
