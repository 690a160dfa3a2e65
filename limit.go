package fairlead

import (
	"fmt"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/retry"
)

// WithLimit limits how many calls to a service, and attempts at an endpoint, are in
// flight at a time: what is more waits in a bounded queue until its deadline, or
// fails with breaker.ErrLimit. The default is no limit: long polls, server-sent
// events and large downloads count until their answer's end, and would use it up.
//
// A full endpoint is passed over, and is nobody's failure. A retry, or a hedge, that
// finds all endpoints full is not made; a hedge counts at its endpoint alone. A
// connection that switched protocols (WebSocket) gives its place back; streaming RPCs
// have a limit of their own.
func WithLimit(l breaker.Limit) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := l.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithLimit: %w", err)
		}
		s.limit = &l
		return nil
	})
}

func (s *service) newLimiter() (err error) {
	if l := s.settings.limit; l != nil {
		s.limiter, err = breaker.NewLimiter(*l)
	}
	return err
}

// endpointLimit is what the balancer asks for each node's limit, nil without.
func (s *service) endpointLimit() func(*balancer.Node) balancer.Limit {
	if s.settings.limit == nil || s.settings.limit.Endpoint == 0 {
		return nil
	}
	return func(n *balancer.Node) balancer.Limit { return s.limiter.Endpoint(n.ID()) }
}

// admit waits for the call's place among those in flight. stop is another way than
// the context's by which the wait can end.
func (c *core) admit(stop <-chan struct{}) error {
	s := c.service
	if s.throttle != nil && !s.throttle.Allow() {
		return retry.ErrThrottled
	}
	if s.limiter == nil {
		return nil
	}
	acquire := s.limiter.Acquire
	if c.info.Stream {
		acquire = s.limiter.AcquireStream
	}
	err := acquire(c.ctx, stop)
	c.admitted = err == nil
	c.hurry()
	return err
}

// queues reports whether the call is not to look for an endpoint with room before
// those that wait for one.
func (c *core) queues(by *balancer.View) bool {
	l := c.service.limiter
	return l != nil && !c.hedge && !c.info.Stream && c.attempts.Load() == 0 && l.Queued(c.want(by))
}

// want is what the call would wait for.
func (c *core) want(by *balancer.View) breaker.Want {
	return breaker.Want{By: by, Endpoint: c.info.Endpoint}
}

// hurry is called when the call may have waited for room.
func (c *core) hurry() {
	c.hurried = c.timeout != nil && c.remaining() < c.service.settings.timeout/2
}

// queueTook is what an attempt tells for which the queue had left too little time:
// nothing, unless its endpoint's peers do better.
func (c *core) queueTook() balancer.Outcome { return balancer.Outcome{Verdict: balancer.Suspect} }

// unlessClosed is err, or ErrClosed where the Mesh's end was the reason.
func (c *core) unlessClosed(err error) error {
	if err != nil && c.service.mesh.closed.Load() {
		return ErrClosed
	}
	return err
}

// leave gives the call's place back.
func (c *core) leave() {
	if c.admitted {
		c.leaveNow()
	}
}

// leaveNow is leave for a call that has one.
func (c *core) leaveNow() {
	switch {
	case c.info.Stream:
		c.service.limiter.ReleaseStream()
	default:
		c.service.limiter.Release()
	}
	c.admitted = false
}
