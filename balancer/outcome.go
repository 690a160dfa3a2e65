package balancer

import "time"

// Outcome is what became of one attempt. One classifier makes it, and
// everything reads it: breaker, cooling, retries, metrics. The zero value is
// neutral: nobody's fault, nothing learned.
type Outcome struct {
	// Verdict says what the attempt tells about its endpoint.
	Verdict Verdict

	// Resend says whether another attempt may help.
	Resend Resend

	// Overtaken says that the attempt was given up because it took so long that
	// another was sent beside it, and answered first. It goes with Neutral: nobody
	// knows how long it would have taken.
	Overtaken bool

	// RetryAfter is how long the endpoint asked the caller to wait. It matters
	// to the call only when no other endpoint is left. Zero means not asked.
	RetryAfter time.Duration

	// Cool is how long the endpoint asked to be left alone by everybody; it is
	// not a candidate for that long. Zero means not asked.
	Cool time.Duration
}

// Verdict says what an attempt tells about its endpoint.
type Verdict uint8

const (
	// Neutral tells nothing: the caller went away, or the request itself was at fault.
	Neutral Verdict = iota

	// Success is an answer, be it the answer that the request was wrong.
	Success

	// Failure is no answer, or one that says the endpoint is broken.
	Failure

	// Overload is an endpoint that works and has too much to do. It never opens
	// a breaker.
	Overload

	// Suspect may be the endpoint's fault or the request's (gRPC's Unknown and
	// Internal). It counts only in the comparison with the endpoint's peers.
	Suspect
)

var verdictNames = [...]string{"neutral", "success", "failure", "overload", "suspect"}

// String returns the verdict in lower case.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "invalid"
}

// Resend says whether an attempt may be followed by another.
type Resend uint8

const (
	// ResendNever means that another attempt would not help.
	ResendNever Resend = iota

	// ResendIfSafe means that another attempt may help, and that the endpoint
	// may have acted on this one: only a call that is safe to repeat is sent again.
	ResendIfSafe

	// ResendAlways means that the endpoint provably did not act on the attempt,
	// so that any call may be sent again.
	ResendAlways
)
