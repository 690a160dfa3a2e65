package retry

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Config says what is retried, how often and how soon. The zero value means the
// defaults. Negative values are errors where nothing else is said.
type Config struct {
	// Attempts is how many attempts a call may have in all, the first included.
	// 0 means 2; 1 means no retries; at most 5.
	Attempts int

	// AttemptTimeout bounds the time from the start of an attempt to the
	// headers of its answer, or to the end of a unary RPC. An attempt that takes longer failed, and the next
	// may begin. 0 means no bound but the call's own deadline.
	AttemptTimeout time.Duration

	// Backoff is the pause before a retry.
	Backoff Backoff

	// Budget bounds the retries of the service.
	Budget Budget

	// Safe reports whether a call may be repeated although an endpoint may have
	// acted on it, for calls whose method does not say so: a POST that only
	// reads, for instance. A gRPC call is a POST to "/pkg.Service/Method". It is
	// called for every such call and must not block. Nil means that none may.
	Safe func(ctx context.Context, method, path string) bool
}

// Backoff is the pause before a retry: a random time between zero and Base for
// the first, twice that for each further one, never above Max ("full jitter").
// Only where no other endpoint is left is an endpoint's Retry-After waited for
// instead.
type Backoff struct {
	// Base bounds the first pause. 0 means 25 ms.
	Base time.Duration

	// Max bounds every pause. 0 means 250 ms, or Base if that is longer.
	Max time.Duration
}

// Budget bounds the retries of one service over a rolling 10 s.
type Budget struct {
	// Ratio is how many retries there may be per call. 0 means 0.2; -1 switches
	// the budget off.
	Ratio float64

	// Burst is how many retries there may be on top, so that a service with few
	// calls has retries too. 0 means 10; -1 means none.
	Burst int

	// PerSecond is how fast a used Burst comes back. 0 means 1; -1 means never.
	PerSecond float64
}

const (
	off = -1

	// MaxAttempts is the largest number of attempts a call may have.
	MaxAttempts = 5

	defaultAttempts  = 2
	defaultBase      = 25 * time.Millisecond
	defaultMax       = 250 * time.Millisecond
	defaultRatio     = 0.2
	defaultBurst     = 10
	defaultPerSecond = 1
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed.
func (c Config) WithDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	if c.Attempts == 0 {
		c.Attempts = defaultAttempts
	}
	if c.Backoff.Base == 0 {
		c.Backoff.Base = defaultBase
		if c.Backoff.Max > 0 {
			c.Backoff.Base = min(c.Backoff.Base, c.Backoff.Max)
		}
	}
	if c.Backoff.Max == 0 {
		c.Backoff.Max = max(defaultMax, c.Backoff.Base)
	}
	if c.Budget.Ratio == 0 {
		c.Budget.Ratio = defaultRatio
	}
	if c.Budget.Burst == 0 {
		c.Budget.Burst = defaultBurst
	}
	if c.Budget.PerSecond == 0 {
		c.Budget.PerSecond = defaultPerSecond
	}
	return c, nil
}

func (c Config) validate() error {
	finite := func(f float64) bool { return f == off || f >= 0 && !math.IsInf(f, 1) }
	switch {
	case c.Attempts < 0 || c.Attempts > MaxAttempts:
		return fmt.Errorf("retry: Attempts is %d, want 1 (no retries) to %d, or 0 (meaning %d)", c.Attempts, MaxAttempts, defaultAttempts)
	case c.AttemptTimeout < 0:
		return fmt.Errorf("retry: AttemptTimeout is %v, want more than 0, or 0 (meaning none)", c.AttemptTimeout)
	case c.Backoff.Base < 0:
		return fmt.Errorf("retry: Backoff.Base is %v, want more than 0, or 0 (meaning %v)", c.Backoff.Base, defaultBase)
	case c.Backoff.Max < 0:
		return fmt.Errorf("retry: Backoff.Max is %v, want more than 0, or 0 (meaning %v)", c.Backoff.Max, defaultMax)
	case c.Backoff.Max > 0 && c.Backoff.Base > c.Backoff.Max:
		return fmt.Errorf("retry: Backoff.Base is %v, want at most Backoff.Max, which is %v", c.Backoff.Base, c.Backoff.Max)
	case !finite(c.Budget.Ratio):
		return fmt.Errorf("retry: Budget.Ratio is %v, want more than 0, 0 (meaning %v) or -1 (no budget)", c.Budget.Ratio, defaultRatio)
	case c.Budget.Burst < off || c.Budget.Burst > math.MaxInt32:
		return fmt.Errorf("retry: Budget.Burst is %d, want 1 or more, 0 (meaning %d) or -1 (none)", c.Budget.Burst, defaultBurst)
	case !finite(c.Budget.PerSecond):
		return fmt.Errorf("retry: Budget.PerSecond is %v, want more than 0, 0 (meaning %v) or -1 (never)", c.Budget.PerSecond, float64(defaultPerSecond))
	}
	return nil
}
