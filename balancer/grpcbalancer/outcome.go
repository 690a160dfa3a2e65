package grpcbalancer

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead-go/fairlead/balancer"
)

// classify says what became of an attempt that a server, or the loss of its
// connection, ended with code.
func classify(code codes.Code, trailer metadata.MD) balancer.Outcome {
	o := balancer.Outcome{Verdict: balancer.Success}
	switch code {
	case codes.Unavailable:
		o = balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
	case codes.ResourceExhausted:
		o = balancer.Outcome{Verdict: balancer.Overload, Resend: balancer.ResendIfSafe}
	case codes.Unknown, codes.Internal:
		o = balancer.Outcome{Verdict: balancer.Suspect}
	}
	wait, told, again := pushback(trailer)
	switch {
	case !told || o.Resend == balancer.ResendNever:
	case !again:
		o.Resend = balancer.ResendNever
	case code == codes.Unavailable && wait > 0:
		o.Verdict, o.RetryAfter, o.Cool = balancer.Overload, wait, wait
	default:
		o.RetryAfter = wait
	}
	return o
}

// pushbackKey is where a server says when to send again, as gRFC A6 has it.
const pushbackKey = "grpc-retry-pushback-ms"

// maxPushback bounds what a server can ask for, so that no arithmetic on it overflows.
const maxPushback = 24 * time.Hour

// pushback returns how long the server wants the caller to wait, whether it said
// so, and whether the call may be sent again at all: a negative number forbids it,
// and so does what cannot be read.
func pushback(trailer metadata.MD) (wait time.Duration, told, again bool) {
	values := trailer[pushbackKey]
	if len(values) == 0 {
		return 0, false, true
	}
	ms, err := strconv.ParseInt(values[0], 10, 32)
	if err != nil || ms < 0 || len(values) > 1 {
		return 0, true, false
	}
	return min(time.Duration(ms)*time.Millisecond, maxPushback), true, true
}

// ended reports whether ctx has. The server keeps to the call's deadline too, so
// that its answer can be here a moment before ctx knows.
func ended(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) <= 0
}
