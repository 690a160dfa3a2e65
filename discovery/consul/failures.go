package consul

import (
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

const (
	backoffBase = 25 * time.Millisecond
	backoffMax  = 30 * time.Second

	// maxUnreached bounds the count of failures to reach the agent, and so the
	// back-off to 1.6 s: whoever is not there has no work with us, and an agent
	// that is restarted should be seen as soon as it is back.
	maxUnreached = 6
)

// failures counts those of one kind in a row. The zero value is none.
type failures struct {
	n         int
	unreached bool // nobody took the connection
}

// backoff counts err in and returns how long to rest. The agent's own errors
// begin anew when it can be reached again.
func (f *failures) backoff(err error) time.Duration {
	var op *net.OpError
	unreached := errors.As(err, &op) && op.Op == "dial"
	if unreached != f.unreached {
		*f = failures{unreached: unreached}
	}
	f.n++
	if f.unreached {
		f.n = min(f.n, maxUnreached)
	}
	return backoff(f.n, backoffMax)
}

// backoff returns how long to rest after so many failures in a row (from 1), at
// most: exponential with full jitter, so that a fleet does not come back in step
// (AWS Architecture Blog, "Exponential Backoff And Jitter").
func backoff(failures int, most time.Duration) time.Duration {
	return rand.N(min(most, backoffBase<<min(failures, 11)))
}
