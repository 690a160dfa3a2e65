package tracing

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/balancer"
)

// AttemptInfo says what is about to be sent, where and why.
type AttemptInfo struct {
	// Service is the name that was called, with its port if it has one.
	Service string

	// Endpoint is the identity of the endpoint that was chosen.
	Endpoint string

	// Addr is what is really dialled, a host and a port.
	Addr string

	// Reason is why the endpoint was chosen, in one of few words. Empty means
	// that it is not told.
	Reason string

	// Resend is how many attempts of the call came before. Zero means it is the first.
	Resend int

	// Request is what is sent. Nil means another protocol than HTTP.
	Request *http.Request

	// Method is an RPC's full method, "/pkg.Service/Method". It counts only
	// where Request is nil. The first 1000 that are called are told by their
	// names; those that come later, are longer than 256 bytes or not of that
	// form are "_OTHER", since a proxy may be asked for any.
	Method string
}

// Verdict is what is known when an attempt's headers, or its error, are there;
// of an RPC, when its status is.
type Verdict struct {
	// StatusCode is that of the response, an RPC's code for an RPC. Zero means
	// none, an RPC's OK where Err is nil. All codes of RPCs but OK are errors,
	// unless the outcome is neutral.
	StatusCode int

	// ProtoMajor and ProtoMinor are the response's version of HTTP. Zero means not known.
	ProtoMajor, ProtoMinor int

	// Outcome is the classifier's. A neutral one is not an error.
	Outcome balancer.Outcome

	// Err is why there is no response, or what an RPC's caller is told.
	Err error
}

// Attempt is one attempt's span and metrics. The zero value is off: all its
// methods do nothing. Its methods must not run at the same time as one another.
type Attempt struct {
	ctx   context.Context
	span  trace.Span   // nil: not traced
	in    *instruments // nil: not measured
	start time.Time

	service, endpoint string
	method            string // as it is told: an HTTP method, or an RPC's without the slash in front
	address           string
	port              int
	rpc               bool

	told, failed bool
}

// StartAttempt counts a pick and starts an attempt's CLIENT span. It returns a
// context that carries the span, ctx itself where tracing is off. It keeps
// neither info nor the request in it, and changes neither. With telemetry off
// it allocates nothing.
func (t *Telemetry) StartAttempt(ctx context.Context, info *AttemptInfo) (context.Context, Attempt) {
	tracer, in := t.tracers.current(), t.instruments()
	if tracer == nil && in == nil {
		return ctx, Attempt{}
	}
	a := Attempt{in: in, service: info.Service, endpoint: info.Endpoint}
	a.identify(t, info)
	if tracer != nil {
		ctx, a.span = startSpan(ctx, tracer, &a, info)
	}
	a.ctx = ctx
	if in != nil {
		in.count(ctx, in.picks, countKey{a.service, a.endpoint, reasonKey, info.Reason})
		a.start = time.Now()
	}
	return ctx, a
}

// Enabled reports whether the attempt has a span.
func (a *Attempt) Enabled() bool { return a != nil && a.span != nil }

// Observed reports whether anybody wants to hear of the attempt: by its span or by
// metrics. The other methods do nothing where nobody does, be it that a is nil.
func (a *Attempt) Observed() bool { return a != nil && a.ctx != nil }

// identify finds the method and the server that the caller named.
func (a *Attempt) identify(t *Telemetry, info *AttemptInfo) {
	if info.Request == nil {
		a.rpc = true
		a.method = t.methods.name(info.Method)
		a.address, a.port = splitAddr(info.Service)
		return
	}
	a.method = knownMethod(info.Request.Method)
	a.address, a.port = origin(info.Request.URL)
}

// Verdict tells what became of the attempt, once: the metrics are recorded and
// the span gets its status. The span goes on until [Attempt.End].
//
// An HTTP attempt is judged, and its duration ends, at its headers. An RPC is
// judged at its status, which is a stream's end: the conventions want the
// duration of the whole stream, as its span has it.
func (a *Attempt) Verdict(v Verdict) {
	if !a.Observed() || a.told {
		return
	}
	a.told = true
	kind := failure(a.ctx, a.rpc, v.StatusCode, v.Err, v.Outcome)
	if a.in != nil {
		a.measure(v, kind)
	}
	if a.span != nil && a.span.IsRecording() {
		a.describe(v, kind)
	}
}

func (a *Attempt) measure(v Verdict, kind string) {
	seconds := time.Since(a.start).Seconds()
	if a.rpc {
		a.in.recordRPC(a.ctx, seconds, rpcDurationKey{
			method:  a.method,
			address: a.address,
			port:    a.port,
			status:  rpcStatus(v.StatusCode, v.Err),
			failure: kind,
		})
	} else {
		a.in.recordHTTP(a.ctx, seconds, httpDurationKey{
			method:  a.method,
			address: a.address,
			port:    a.port,
			status:  v.StatusCode,
			failure: kind,
			version: protocolVersion(v.ProtoMajor, v.ProtoMinor),
		})
	}
	a.in.count(a.ctx, a.in.attempts, countKey{a.service, a.endpoint, outcomeKey, v.Outcome.Verdict.String()})
}

func (a *Attempt) describe(v Verdict, kind string) {
	attrs := make([]attribute.KeyValue, 0, 4)
	if status, ok := statusAttribute(a.rpc, v.StatusCode, v.Err); ok {
		attrs = append(attrs, status)
	}
	if version := protocolVersion(v.ProtoMajor, v.ProtoMinor); version != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(version))
	}
	if v.Outcome.Verdict != balancer.Success {
		attrs = append(attrs, outcomeKey.String(v.Outcome.Verdict.String()))
	}
	if kind != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(kind))
	}
	a.span.SetAttributes(attrs...)
	if kind != "" && v.Outcome.Verdict != balancer.Neutral {
		a.failed = true
		a.span.SetStatus(codes.Error, description(v.Err))
	}
}

// End ends the attempt's span, at the end of its response's body. The error is
// what the body broke off with if that was not the caller's doing; it makes the
// attempt an error, whatever its headers said. Nil means a good end, or one
// that [Attempt.Verdict] was told already. A second call does nothing.
func (a *Attempt) End(err error) {
	if !a.Observed() {
		return
	}
	if err != nil {
		a.breakOff(err)
	}
	if a.span != nil {
		a.span.End()
	}
	*a = Attempt{}
}

func (a *Attempt) breakOff(err error) {
	kind := errorType(err)
	if a.in != nil {
		a.in.count(a.ctx, a.in.bodies, countKey{a.service, a.endpoint, semconv.ErrorTypeKey, kind})
	}
	if a.span == nil || !a.span.IsRecording() {
		return
	}
	a.span.AddEvent("fairlead.body.error", trace.WithAttributes(
		semconv.ErrorTypeKey.String(kind),
		semconv.ExceptionMessage(err.Error()),
	))
	if !a.failed {
		a.span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		a.span.SetStatus(codes.Error, err.Error())
	}
}
