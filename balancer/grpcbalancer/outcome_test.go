package grpcbalancer

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
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
		if got := classify(code, nil); got != want[code] {
			t.Errorf("%v: %+v, want %+v", code, got, want[code])
		}
	}
}

func TestClassifyPushback(t *testing.T) {
	const failure, overload = balancer.Failure, balancer.Overload
	tests := []struct {
		name   string
		code   codes.Code
		values []string
		want   balancer.Outcome
	}{
		{"unavailable, later", codes.Unavailable, []string{"1500"}, balancer.Outcome{
			Verdict: overload, Resend: balancer.ResendIfSafe, RetryAfter: 1500 * time.Millisecond, Cool: 1500 * time.Millisecond,
		}},
		{"unavailable, at once", codes.Unavailable, []string{"0"}, balancer.Outcome{Verdict: failure, Resend: balancer.ResendIfSafe}},
		{"unavailable, never", codes.Unavailable, []string{"-1"}, balancer.Outcome{Verdict: failure}},
		{"unavailable, unreadable", codes.Unavailable, []string{"soon"}, balancer.Outcome{Verdict: failure}},
		{"unavailable, too large a number", codes.Unavailable, []string{"99999999999"}, balancer.Outcome{Verdict: failure}},
		{"unavailable, twice", codes.Unavailable, []string{"1", "2"}, balancer.Outcome{Verdict: failure}},
		{"exhausted, later", codes.ResourceExhausted, []string{"20"}, balancer.Outcome{
			Verdict: overload, Resend: balancer.ResendIfSafe, RetryAfter: 20 * time.Millisecond,
		}},
		{"exhausted, never", codes.ResourceExhausted, []string{"-5"}, balancer.Outcome{Verdict: overload}},
		{"a code that is not sent again", codes.NotFound, []string{"20"}, balancer.Outcome{Verdict: balancer.Success}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := classify(tt.code, metadata.MD{pushbackKey: tt.values}); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func FuzzPushback(f *testing.F) {
	for _, seed := range []string{"", "0", "-1", "1500", "2147483647", "9223372036854775807", "1e3", " 5", "+5", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		wait, told, again := pushback(metadata.MD{pushbackKey: {value}})
		if !told || wait < 0 || wait > maxPushback || !again && wait != 0 {
			t.Errorf("%q: %v, told %t, again %t", value, wait, told, again)
		}
	})
}

// Without a call of an interceptor's, all that ends the context is the caller's doing.
func TestOutcomeWhenTheContextEnded(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	gone, cancelCause := context.WithCancelCause(t.Context())
	cancelCause(errors.New("of the caller's own"))
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	inner, cancel := context.WithCancel(t.Context())
	defer cancel()

	for name, ctx := range map[string]context.Context{
		"canceled":                    canceled,
		"canceled with a cause":       gone,
		"the caller's deadline":       late,
		"a deadline not yet noticed":  lateContext{inner, time.Now()},
		"another mesh's call timeout": timedOut(t, fairlead.ErrTimeout),
		"another's attempt timeout":   timedOut(t, fairlead.ErrAttemptTimeout),
	} {
		t.Run(name, func(t *testing.T) {
			a := try{ctx: ctx}
			for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable} {
				for _, sent := range []bool{true, false} {
					if got := a.outcome(ending{err: status.Error(code, ""), sent: sent, received: sent}); got != (balancer.Outcome{}) {
						t.Errorf("%v, sent %t: %+v, want neutral", code, sent, got)
					}
				}
			}
			if got := a.outcome(ending{sent: true, received: true}); got.Verdict != balancer.Success {
				t.Errorf("an answer: %+v", got)
			}
		})
	}
}

func timedOut(t *testing.T, cause error) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), -1, cause)
	t.Cleanup(cancel)
	return ctx
}

// lateContext has a deadline that has passed and does not know it yet.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

func TestOutcomeOfWhatWasNotSent(t *testing.T) {
	a := try{ctx: t.Context()}
	if got := a.outcome(ending{err: status.Error(codes.Unavailable, "")}); got != (balancer.Outcome{Resend: balancer.ResendAlways}) {
		t.Errorf("the connection was lost: %+v, want neutral and sent again", got)
	}
	for name, got := range map[string]balancer.Outcome{
		"the connection was not ready": a.outcome(ending{}),
		"no credentials for the call":  a.outcome(ending{err: status.Error(codes.Unauthenticated, "")}),
		"the request is too large":     a.outcome(ending{err: status.Error(codes.ResourceExhausted, ""), sent: true}),
		"the ClientConn was closed":    a.outcome(ending{err: status.Error(codes.Unavailable, ""), sent: true, closing: true}),
	} {
		if got != (balancer.Outcome{}) {
			t.Errorf("%s: %+v, want neutral", name, got)
		}
	}
}
