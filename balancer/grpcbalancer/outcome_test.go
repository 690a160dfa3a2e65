package grpcbalancer

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
)

func TestClassify(t *testing.T) {
	want := map[codes.Code]balancer.Outcome{
		codes.OK:                 {Verdict: balancer.Success},
		codes.Canceled:           {Verdict: balancer.Success}, // the server's
		codes.Unknown:            {Verdict: balancer.Suspect},
		codes.InvalidArgument:    {Verdict: balancer.Success},
		codes.DeadlineExceeded:   {Verdict: balancer.Success}, // the server's
		codes.NotFound:           {Verdict: balancer.Success},
		codes.AlreadyExists:      {Verdict: balancer.Success},
		codes.PermissionDenied:   {Verdict: balancer.Success},
		codes.ResourceExhausted:  {Verdict: balancer.Overload, Resend: balancer.ResendIfSafe},
		codes.FailedPrecondition: {Verdict: balancer.Success},
		codes.Aborted:            {Verdict: balancer.Success},
		codes.OutOfRange:         {Verdict: balancer.Success},
		codes.Unimplemented:      {Verdict: balancer.Success},
		codes.Internal:           {Verdict: balancer.Suspect},
		codes.Unavailable:        {Verdict: balancer.Failure, Resend: balancer.ResendIfSafe},
		codes.DataLoss:           {Verdict: balancer.Success},
		codes.Unauthenticated:    {Verdict: balancer.Success},
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		if got := classify(t.Context(), status.Error(code, "")); got != want[code] {
			t.Errorf("%v: %+v, want %+v", code, got, want[code])
		}
	}
}

func TestClassifyWhenTheContextEnded(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	gone, cancelCause := context.WithCancelCause(t.Context())
	cancelCause(errors.New("of the caller's own"))
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	timeout, cancel := context.WithTimeoutCause(t.Context(), -1, fairlead.ErrTimeout)
	defer cancel()
	attempt, cancel := context.WithTimeoutCause(t.Context(), -1, fairlead.ErrAttemptTimeout)
	defer cancel()

	ours := balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
	tests := []struct {
		name string
		ctx  context.Context
		want balancer.Outcome
	}{
		{"canceled", canceled, balancer.Outcome{}},
		{"canceled with a cause", gone, balancer.Outcome{}},
		{"the caller's deadline", late, balancer.Outcome{}},
		{"the mesh's timeout", timeout, ours},
		{"the mesh's attempt timeout", attempt, ours},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable} {
				if got := classify(tt.ctx, status.Error(code, "")); got != tt.want {
					t.Errorf("%v: %+v, want %+v", code, got, tt.want)
				}
			}
			if got := classify(tt.ctx, nil); got.Verdict != balancer.Success {
				t.Errorf("an answer: %+v", got)
			}
		})
	}
}

// lateContext has a deadline that has passed and does not know it yet.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

func TestClassifyBeforeTheContextKnows(t *testing.T) {
	inner, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	late := lateContext{inner, time.Now()}
	if got := classify(late, status.Error(codes.DeadlineExceeded, "")); got != (balancer.Outcome{}) {
		t.Errorf("%+v, want neutral", got)
	}
}
