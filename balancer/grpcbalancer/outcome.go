package grpcbalancer

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
)

// classify says what became of an attempt that gRPC sent. Where its context has
// ended, that is why it failed, whatever the code says.
func classify(ctx context.Context, err error) balancer.Outcome {
	if err == nil {
		return balancer.Outcome{Verdict: balancer.Success}
	}
	if ended(ctx) {
		cause := context.Cause(ctx)
		if errors.Is(cause, fairlead.ErrTimeout) || errors.Is(cause, fairlead.ErrAttemptTimeout) {
			return balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
		}
		return balancer.Outcome{}
	}
	switch status.Code(err) {
	case codes.Unavailable:
		return balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
	case codes.ResourceExhausted:
		return balancer.Outcome{Verdict: balancer.Overload, Resend: balancer.ResendIfSafe}
	case codes.Unknown, codes.Internal:
		return balancer.Outcome{Verdict: balancer.Suspect}
	}
	return balancer.Outcome{Verdict: balancer.Success}
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
