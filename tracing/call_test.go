package tracing_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/tracing"
)

func TestCallSpan(t *testing.T) {
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the user closed the window"))

	tests := []struct {
		name   string
		ctx    context.Context
		method string
		result tracing.CallResult
		span   string
		attrs  map[string]string // besides the service
		status codes.Code
	}{
		{
			name: "success", ctx: t.Context(), method: http.MethodGet,
			result: tracing.CallResult{Attempts: 2, StatusCode: 200, Outcome: success},
			span:   "GET users",
			attrs:  map[string]string{"fairlead.attempts": "2", "http.response.status_code": "200"},
		},
		{
			name: "failing status", ctx: t.Context(), method: http.MethodPost,
			result: tracing.CallResult{Attempts: 1, StatusCode: 503, Outcome: failure},
			span:   "POST users",
			attrs:  map[string]string{"fairlead.attempts": "1", "http.response.status_code": "503", "error.type": "503"},
			status: codes.Error,
		},
		{
			name: "error before any attempt", ctx: t.Context(), method: "FROBNICATE",
			result: tracing.CallResult{Err: context.DeadlineExceeded, Outcome: failure},
			span:   "HTTP users",
			attrs:  map[string]string{"fairlead.attempts": "0", "error.type": "timeout"},
			status: codes.Error,
		},
		{
			name: "the caller left", ctx: canceled, method: http.MethodGet,
			result: tracing.CallResult{Attempts: 1, Err: context.Cause(canceled), Outcome: neutral},
			span:   "GET users",
			attrs:  map[string]string{"fairlead.attempts": "1"},
		},
		{
			name: "RPC", ctx: t.Context(), method: "/pkg.Users/Get",
			result: tracing.CallResult{Attempts: 1, Outcome: success},
			span:   "pkg.Users/Get users",
			attrs:  map[string]string{"fairlead.attempts": "1", "rpc.response.status_code": "OK"},
		},
		{
			name: "failed RPC", ctx: t.Context(), method: "/pkg.Users/Get",
			result: tracing.CallResult{Attempts: 1, StatusCode: 14, Err: errRefused, Outcome: failure},
			span:   "pkg.Users/Get users",
			attrs:  map[string]string{"fairlead.attempts": "1", "rpc.response.status_code": "UNAVAILABLE", "error.type": "UNAVAILABLE"},
			status: codes.Error,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			ctx, call := r.StartCall(tt.ctx, "users", tt.method)
			if !call.Enabled() || !trace.SpanContextFromContext(ctx).IsValid() {
				t.Fatal("no span")
			}
			call.End(tt.result)
			span := r.span(t, trace.SpanKindInternal)
			tt.attrs["fairlead.service"] = "users"
			if diff := cmp.Diff(tt.attrs, attributes(span)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if span.Name() != tt.span || span.Status().Code != tt.status {
				t.Errorf("span %q with status %v, want %q with %v", span.Name(), span.Status(), tt.span, tt.status)
			}
		})
	}
}

func TestAttemptsAreTheCallsChildren(t *testing.T) {
	r := newRig(t)
	ctx, call := r.StartCall(t.Context(), "users", http.MethodGet)
	_, attempt := r.StartAttempt(ctx, usersInfo(t))
	attempt.End(nil)
	call.End(tracing.CallResult{Attempts: 1})
	parent, child := r.span(t, trace.SpanKindInternal), r.span(t, trace.SpanKindClient)
	if child.Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Error("the attempt's parent is not the call")
	}
}
