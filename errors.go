package fairlead

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrClosed is returned by calls on a Mesh after Close or Shutdown, and by
	// those that Close interrupted.
	ErrClosed = errors.New("fairlead: mesh closed")

	// ErrUnknownService is in the chain of a call's error when the resolver has
	// never heard of the service. The name is remembered as unknown for three
	// seconds.
	ErrUnknownService = errors.New("fairlead: unknown service")

	// ErrUnresolved is in the chain of a call's error when the resolver has not
	// said who serves the name in time; the resolver's own error, if it had one,
	// is there too. It is a timeout.
	ErrUnresolved error = &timeoutError{text: "fairlead: the resolver has not answered yet"}

	// ErrTimeout is in the chain of a call's error when WithTimeout's deadline
	// ended it. It is a timeout and a context.DeadlineExceeded.
	ErrTimeout error = &timeoutError{text: "fairlead: call timed out"}

	// ErrAttemptTimeout is in the chain of a call's error when the last attempt
	// had no answer within the attempt timeout. It is a timeout and a
	// context.DeadlineExceeded.
	ErrAttemptTimeout error = &timeoutError{text: "fairlead: attempt timed out"}
)

// CallError is the error of a call that the Mesh could not answer. It wraps the
// cause: errors.Is and errors.As see through it.
type CallError struct {
	// Service is the name that was called.
	Service string

	// Endpoint is the ID of the endpoint of the last attempt, empty if there
	// was none.
	Endpoint string

	// Attempts is how many attempts were sent.
	Attempts int

	// Err is the cause.
	Err error
}

// Error names service, endpoint, attempts and cause.
func (e *CallError) Error() string {
	var b strings.Builder
	b.WriteString("fairlead: service ")
	b.WriteString(strconv.Quote(e.Service))
	if e.Endpoint != "" {
		fmt.Fprintf(&b, ": endpoint %q, attempt %d", e.Endpoint, e.Attempts)
	}
	return b.String() + ": " + strings.TrimPrefix(e.Err.Error(), "fairlead: ")
}

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// Timeout reports whether the cause is a timeout. net/http asks for it without
// unwrapping.
func (e *CallError) Timeout() bool { return isTimeout(e.Err) }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// timeoutError is a time limit of ours that ran out.
type timeoutError struct {
	text string
	kind error // the exported error it is one of; nil for those themselves
}

// newCallTimeout returns a cause for one call's deadline, which is told from that
// of another Mesh or call that this one is made in.
func newCallTimeout() *timeoutError {
	return &timeoutError{text: "fairlead: call timed out", kind: ErrTimeout}
}

func (e *timeoutError) Error() string   { return e.text }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
func (e *timeoutError) Is(target error) bool {
	return target == context.DeadlineExceeded || e.kind != nil && target == e.kind
}

// requestError is a fault of the request's own: nothing was sent.
type requestError struct{ err error }

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// dialError says that no connection came to be, so that nothing was sent.
type dialError struct {
	addr string
	err  error
}

func (e *dialError) Error() string { return "no connection to " + e.addr + ": " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }
func (e *dialError) Timeout() bool { return isTimeout(e.err) }
