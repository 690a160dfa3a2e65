package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
)

// ErrBudget is in the chain of the error of a call that would have been sent
// again had its service's budget not been used up.
var ErrBudget = errors.New("retry: budget used up")

// MaxRetryAfter is the longest Retry-After that a call waits for.
const MaxRetryAfter = 10 * time.Second

// Idempotent reports whether an HTTP method is idempotent by RFC 9110,
// section 9.2.2. The empty method is GET, as in net/http.
func Idempotent(method string) bool {
	switch method {
	case "", "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Policy decides for the calls of one service, which share its budget.
// It is safe for concurrent use.
type Policy struct {
	config Config
	budget *budget
}

// New returns a Policy, or an error that names the field, its value and what is allowed.
func New(config Config) (*Policy, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Policy{config: config, budget: newBudget(config.Budget)}, nil
}

// Config returns the Policy's configuration, defaults filled in.
func (p *Policy) Config() Config { return p.config }

// BudgetLeft returns how many retries the budget would pay for now, and
// MaxAttempts where there is no budget.
func (p *Policy) BudgetLeft() float64 { return p.budget.left() }

// Safe reports whether Config.Safe says that the call may be repeated.
func (p *Policy) Safe(ctx context.Context, method, path string) bool {
	return p.config.Safe != nil && p.config.Safe(ctx, method, path)
}

// Begin counts a call and returns its Call. safe says that the call may be
// repeated although an endpoint may have acted on it. It does not block.
func (p *Policy) Begin(safe bool) Call {
	c := p.Prepare(safe)
	c.Count()
	return c
}

// Prepare is Begin for a call that is not counted until its Count, at the latest before
// its first Next: one that is never sent earns no retries for others.
func (p *Policy) Prepare(safe bool) Call { return Call{policy: p, safe: safe} }

// Call is one call's way through its attempts. It is for one goroutine at a time.
type Call struct {
	policy  *Policy
	backoff *backoff.ExponentialBackOff // made at the first retry
	failed  int32                       // attempts that Next was asked about
	safe    bool
	counted bool
}

// Situation is what Next must know besides the outcome.
type Situation struct {
	// Replayable says that the request's body can be sent again.
	Replayable bool

	// Others says that an endpoint is ready that was not tried.
	Others bool

	// Remaining is the time until the call's deadline. 0 means no deadline, a
	// negative time one that has passed.
	Remaining time.Duration
}

// Decision is the answer of Next.
type Decision struct {
	// Again says that another attempt should follow. The budget has paid for it.
	Again bool

	// Wait is the pause before it.
	Wait time.Duration

	// Reason says in a word why, or why not.
	Reason Reason
}

// Reason is why a call is sent again or not, in a word fit for a metric.
type Reason string

// The reasons.
const (
	ReasonSent       Reason = "sent"        // it is sent again
	ReasonFinal      Reason = "final"       // another attempt would not help
	ReasonAttempts   Reason = "attempts"    // it has had all its attempts
	ReasonUnsafe     Reason = "unsafe"      // it must not be repeated
	ReasonBody       Reason = "body"        // its body is gone
	ReasonDeadline   Reason = "deadline"    // the pause would outlast it
	ReasonRetryAfter Reason = "retry_after" // the only endpoint asks for more than MaxRetryAfter
	ReasonBudget     Reason = "budget"      // the service has had its share of retries
)

// Retryable reports whether another attempt could follow should the coming one
// fail in a way that allows it: there is one left, the call is safe to repeat,
// and the budget could pay.
func (c *Call) Retryable() bool {
	return c.safe && int(c.failed)+1 < c.policy.config.Attempts && !c.policy.budget.low.Load()
}

// Count counts a call that was prepared, once.
func (c *Call) Count() { c.CountAt(0) }

// CountAt is Count for the Mesh, which has read the clock once for all that counts a
// call: by now, which others cannot read. The zero Time is one that is not known.
func (c *Call) CountAt(now monotime.Time) {
	if c.counted {
		return
	}
	c.counted = true
	c.policy.budget.deposit(now)
}

// Safe reports whether the call may be repeated although an endpoint may have
// acted on it.
func (c *Call) Safe() bool { return c.safe }

// Attempts returns how many attempts the call may still have, the one under way
// included: Config.Attempts before Next was first asked.
func (c *Call) Attempts() int { return c.policy.config.Attempts - int(c.failed) }

// Next decides what follows an attempt. When it says Again, the budget has paid.
// It does not block: to wait is up to the caller.
func (c *Call) Next(o balancer.Outcome, s Situation) Decision {
	c.failed++
	switch {
	case o.Resend != balancer.ResendIfSafe && o.Resend != balancer.ResendAlways:
		return Decision{Reason: ReasonFinal}
	case int(c.failed) >= c.policy.config.Attempts:
		return Decision{Reason: ReasonAttempts}
	case o.Resend == balancer.ResendIfSafe && !c.safe:
		return Decision{Reason: ReasonUnsafe}
	case !s.Replayable:
		return Decision{Reason: ReasonBody}
	}
	wait := c.pause()
	if o.RetryAfter > 0 && !s.Others {
		if o.RetryAfter > MaxRetryAfter {
			return Decision{Reason: ReasonRetryAfter}
		}
		wait = o.RetryAfter + rand.N(max(min(o.RetryAfter/2, MaxRetryAfter-o.RetryAfter), 1))
	}
	if s.Remaining != 0 && wait >= s.Remaining {
		return Decision{Reason: ReasonDeadline}
	}
	if !c.policy.budget.withdraw() {
		return Decision{Reason: ReasonBudget}
	}
	return Decision{Again: true, Wait: wait, Reason: ReasonSent}
}

// pause returns the next interval with full jitter: backoff's interval of half
// the bound, randomized by all of itself.
func (c *Call) pause() time.Duration {
	if c.backoff == nil {
		b := c.policy.config.Backoff
		c.backoff = &backoff.ExponentialBackOff{
			InitialInterval:     max(b.Base/2, 1),
			MaxInterval:         max(b.Max/2, 1),
			RandomizationFactor: 1,
			Multiplier:          2,
			MaxElapsedTime:      0, // never give up by itself
			Stop:                backoff.Stop,
			Clock:               backoff.SystemClock,
		}
		c.backoff.Reset()
	}
	// Where half a bound is not whole, backoff may go a nanosecond above it.
	return min(c.backoff.NextBackOff(), c.policy.config.Backoff.Max)
}
