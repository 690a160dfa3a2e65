package breaker

import (
	"fmt"
	"math"
	"time"
)

// Config says when a [Breaker] opens and for how long. The zero value means the
// defaults. -1 switches a rule off; any other negative value is an error.
type Config struct {
	// ConsecutiveFailures opens the breaker after so many failures in a row,
	// and after three times as many where opening would leave less than half of
	// the group closed. 0 means 5; -1 switches the rule off.
	ConsecutiveFailures int

	// SuccessRatio opens the breaker when the share of successes over Window is
	// smaller and clearly worse than the peers': a failure rate of at least
	// twice the median of theirs and at least 20 points above it. 0 means 0.8;
	// at most 1; -1 switches the rule off. It needs a [Group].
	SuccessRatio float64

	// MinSamples is how many calls Window must hold for SuccessRatio to count.
	// 0 means 20. It cannot be switched off.
	MinSamples int

	// Window is the length of the rolling window for SuccessRatio. 0 means 10 s;
	// at least 100 ms.
	Window time.Duration

	// OpenFor is the first open period. It doubles with each failed probe, and
	// when the breaker opens again within 20 s of closing. Each period is varied
	// by up to 20 %. 0 means 1 s.
	OpenFor time.Duration

	// MaxOpenFor is the longest open period, and never exceeded. 0 means 10 s,
	// or OpenFor if that is longer.
	MaxOpenFor time.Duration
}

const (
	off = -1

	defaultConsecutiveFailures = 5
	defaultSuccessRatio        = 0.8
	defaultMinSamples          = 20
	defaultWindow              = 10 * time.Second
	defaultOpenFor             = time.Second
	defaultMaxOpenFor          = 10 * time.Second

	minWindow = 100 * time.Millisecond
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed.
func (c Config) WithDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	if c.ConsecutiveFailures == 0 {
		c.ConsecutiveFailures = defaultConsecutiveFailures
	}
	if c.SuccessRatio == 0 {
		c.SuccessRatio = defaultSuccessRatio
	}
	if c.MinSamples == 0 {
		c.MinSamples = defaultMinSamples
	}
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.OpenFor == 0 {
		c.OpenFor = defaultOpenFor
		if c.MaxOpenFor > 0 {
			c.OpenFor = min(c.OpenFor, c.MaxOpenFor)
		}
	}
	if c.MaxOpenFor == 0 {
		c.MaxOpenFor = max(defaultMaxOpenFor, c.OpenFor)
	}
	return c, nil
}

func (c Config) validate() error {
	switch {
	case c.ConsecutiveFailures < off || c.ConsecutiveFailures > math.MaxInt32:
		return fmt.Errorf("breaker: ConsecutiveFailures is %d, want 1 or more, 0 (meaning %d) or -1 (off)", c.ConsecutiveFailures, defaultConsecutiveFailures)
	case c.SuccessRatio != off && !(c.SuccessRatio >= 0 && c.SuccessRatio <= 1):
		return fmt.Errorf("breaker: SuccessRatio is %v, want more than 0 and at most 1, 0 (meaning %v) or -1 (off)", c.SuccessRatio, defaultSuccessRatio)
	case c.MinSamples < 0 || c.MinSamples > math.MaxInt32:
		return fmt.Errorf("breaker: MinSamples is %d, want 1 or more, or 0 (meaning %d)", c.MinSamples, defaultMinSamples)
	case c.Window != 0 && c.Window < minWindow:
		return fmt.Errorf("breaker: Window is %v, want at least %v, or 0 (meaning %v)", c.Window, minWindow, defaultWindow)
	case c.OpenFor < 0:
		return fmt.Errorf("breaker: OpenFor is %v, want more than 0, or 0 (meaning %v)", c.OpenFor, defaultOpenFor)
	case c.MaxOpenFor < 0:
		return fmt.Errorf("breaker: MaxOpenFor is %v, want more than 0, or 0 (meaning %v)", c.MaxOpenFor, defaultMaxOpenFor)
	case c.MaxOpenFor > 0 && c.OpenFor > c.MaxOpenFor:
		return fmt.Errorf("breaker: OpenFor is %v, want at most MaxOpenFor, which is %v", c.OpenFor, c.MaxOpenFor)
	}
	return nil
}
