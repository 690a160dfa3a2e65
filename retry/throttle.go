package retry

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

// ErrThrottled is in the chain of the error of a call that was refused because too
// many of its service's calls fail.
var ErrThrottled = errors.New("retry: throttled, most calls to the service fail")

// Throttle says when calls to a service that fails as a whole, though not wholly,
// are refused before they are sent. The zero value means the defaults.
//
// Over the last 10 s, of so many calls of which so many succeeded, a call is refused
// with the probability (calls − Ratio × successes) / (calls + 1), if that is more
// than 0, and 0.9 at most. Refused calls are calls that did not succeed, so that a
// service which can answer some gets Ratio times as many. One that answers less than
// one of Ratio calls would in the end get none, and nobody would see it recover. So a
// tenth always comes through, and once it is well, Ratio times as many every 10 s.
//
// Source: the SRE book, chapter 21, "Client-Side Throttling"; the bound is that of
// Envoy's admission control, which is 0.8.
type Throttle struct {
	// Ratio is how many calls there may be for each that succeeds. 0 means 2; at
	// least 1.
	Ratio float64
}

const (
	defaultThrottle = 2
	throttleWindow  = 10 * time.Second
	throttleMost    = 0.9
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed.
func (t Throttle) WithDefaults() (Throttle, error) {
	if t.Ratio != 0 && !(t.Ratio >= 1 && !math.IsInf(t.Ratio, 1)) {
		return Throttle{}, fmt.Errorf("retry: Throttle.Ratio is %v, want at least 1, or 0 (meaning %v)", t.Ratio, float64(defaultThrottle))
	}
	if t.Ratio == 0 {
		t.Ratio = defaultThrottle
	}
	return t, nil
}

// Throttler throttles the calls of one service. Make one with [NewThrottler]. It is
// safe for concurrent use and does not block.
type Throttler struct {
	config Throttle
	calls  *rolling.Window // good: successes; bad: other calls, those refused included
}

// NewThrottler returns a Throttler that has seen no calls, or an error that names
// the field, its value and what is allowed.
func NewThrottler(config Throttle) (*Throttler, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Throttler{config: config, calls: rolling.New(throttleWindow)}, nil
}

// Allow reports whether a call may be sent. One that may not has been counted.
func (t *Throttler) Allow() bool {
	now := monotime.Now()
	good, bad := t.calls.Sum(now)
	p := (float64(good+bad) - t.config.Ratio*float64(good)) / float64(good+bad+1)
	if p <= 0 || rand.Float64() >= min(p, throttleMost) {
		return true
	}
	t.calls.Add(now, 0, 1)
	return false
}

// Observe takes in what became of a call that was allowed, by the outcome of its
// last attempt. Neutral ones say nothing.
func (t *Throttler) Observe(o balancer.Outcome) {
	switch o.Verdict {
	case balancer.Success, balancer.Suspect:
		t.calls.Add(monotime.Now(), 1, 0)
	case balancer.Failure, balancer.Overload:
		t.calls.Add(monotime.Now(), 0, 1)
	}
}
