package fairlead

import (
	"fmt"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

// WithThrottle refuses some of the calls to a service that fails as a whole, though
// not wholly, before they are sent, with retry.ErrThrottled. The default is not to: an
// endpoint that fails by itself is its breaker's matter. retry.Throttle{} lets twice
// as many calls through as succeed.
func WithThrottle(t retry.Throttle) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := t.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithThrottle: %w", err)
		}
		s.throttle = &t
		return nil
	})
}

func (s *service) newThrottle() (err error) {
	if t := s.settings.throttle; t != nil {
		s.throttle, err = retry.NewThrottler(*t)
	}
	return err
}

// observe tells the throttle, which there must be, what became of the call, unless our
// own queue did that.
func (c *core) observe(o balancer.Outcome) {
	if c.attempts.Load() == 0 || c.hurried && c.timedOut() {
		return
	}
	c.service.throttle.Observe(o)
}
