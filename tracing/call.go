package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/balancer"
)

// Call is the span of one call. The zero value is off: all its methods do nothing.
type Call struct {
	ctx  context.Context
	span trace.Span
	rpc  bool
}

// CallResult is how a call ended.
type CallResult struct {
	// Attempts is how many attempts were made. Zero means that none could be.
	Attempts int

	// StatusCode is that of the response that was handed out, an RPC's code
	// for an RPC. Zero means none, an RPC's OK where Err is nil.
	StatusCode int

	// Err is what the caller was told. Nil means that a response was handed out.
	Err error

	// Outcome is that of the last attempt. A neutral one is not an error.
	Outcome balancer.Outcome
}

// callKey is what the start of two calls must have in common to look alike.
type callKey struct {
	service, method string
	rpc             bool
}

// callStart is what a call's span is started with.
type callStart struct {
	name    string
	options []trace.SpanStartOption
}

// StartCall starts the INTERNAL span of a call to a service and returns a
// context that carries it. The method is that of HTTP, or the full method of an
// RPC: one with a slash in front. When tracing is off it returns ctx itself and
// allocates nothing.
func (t *Telemetry) StartCall(ctx context.Context, service, method string) (context.Context, Call) {
	tracer := t.tracers.current()
	if tracer == nil {
		return ctx, Call{}
	}
	rpc := isRPC(method)
	if rpc {
		method = t.methods.name(method)
	} else {
		method = knownMethod(method)
	}
	start := t.calls.get(callKey{service, method, rpc}, newCallStart)
	ctx, span := tracer.Start(ctx, start.name, start.options...)
	return ctx, Call{ctx, span, rpc}
}

func newCallStart(key callKey) callStart {
	return callStart{
		name: spanName(key.method, key.rpc) + " " + key.service,
		options: []trace.SpanStartOption{
			trace.WithSpanKind(trace.SpanKindInternal),
			trace.WithAttributes(serviceKey.String(key.service)),
		},
	}
}

// Enabled reports whether the call has a span.
func (c Call) Enabled() bool {
	return c.span != nil
}

// End tells how the call ended and ends its span. Like an attempt, a call whose
// status is 400 or more is an error unless its outcome is neutral.
func (c Call) End(r CallResult) {
	if c.span == nil {
		return
	}
	if c.span.IsRecording() {
		c.describe(r)
	}
	c.span.End()
}

func (c Call) describe(r CallResult) {
	attrs := make([]attribute.KeyValue, 0, 3)
	attrs = append(attrs, attemptsKey.Int(r.Attempts))
	if status, ok := statusAttribute(c.rpc, r.StatusCode, r.Err); ok {
		attrs = append(attrs, status)
	}
	kind := failure(c.ctx, c.rpc, r.StatusCode, r.Err, r.Outcome)
	if kind != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(kind))
	}
	c.span.SetAttributes(attrs...)
	if kind != "" && r.Outcome.Verdict != balancer.Neutral {
		c.span.SetStatus(codes.Error, description(r.Err))
	}
}

// spanName returns a method as the name of a span has it.
func spanName(method string, rpc bool) string {
	switch {
	case method != otherMethod:
		return method
	case rpc:
		return "grpc"
	}
	return "HTTP"
}
