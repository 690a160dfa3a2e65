package tracing

import (
	"context"
	"reflect"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Inject writes what ctx carries into a carrier, by the propagator in force. It
// is called per attempt, so that each attempt's span is its server's parent.
// Without a span context and without baggage W3C writes nothing and allocates
// nothing, so that a carrier may put off its own work until it is written to.
//
// What ctx carries is passed on also while tracing is off here.
func (t *Telemetry) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	if p := t.inForce(); !p.writesNothing(ctx) {
		p.Inject(ctx, carrier)
	}
}

// Bare reports whether ctx carries nothing that Inject would write now, as far as can be
// told without asking a propagator: it is for who would else have to make a carrier.
func (t *Telemetry) Bare(ctx context.Context) bool { return t.inForce().writesNothing(ctx) }

// noSpan is what a context without a span is said to have: OpenTelemetry has one for all.
var noSpan = trace.SpanFromContext(context.Background())

// writesNothing reports whether the propagator is known to write nothing of what ctx
// carries, as of most calls that nobody traces.
func (p *propagator) writesNothing(ctx context.Context) bool {
	if !p.w3c {
		return false
	}
	span := trace.SpanFromContext(ctx)
	return (same(&noSpan, span) || !span.SpanContext().IsValid()) && baggage.FromContext(ctx).Len() == 0
}

// Fields returns the keys that [Telemetry.Inject] may write, by the propagator
// in force, in lower case as the metadata of gRPC has them. Whoever adds what
// is injected to what is sent already, rather than replacing it, removes these
// keys there first: they may have been copied from a request that came in, and
// tracestate must not go out beside another's traceparent.
//
// The result is shared and must not be changed. A propagator is asked once, and it
// allocates nothing after that.
func (t *Telemetry) Fields() []string {
	given := t.inForce()
	if keys := given.keys.Load(); keys != nil {
		return *keys
	}
	keys := lowered(given.Fields())
	given.keys.Store(&keys)
	return keys
}

// w3c is in force where nobody has set a propagator.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

func lowered(keys []string) []string {
	made := make([]string, len(keys))
	for i, key := range keys {
		made[i] = strings.ToLower(key)
	}
	return made
}

// propagator is one that is in force, and what was found out about it.
type propagator struct {
	propagation.TextMapPropagator
	given propagation.TextMapPropagator // what was given or set, which may be a global that nobody has set
	w3c   bool                          // it writes nothing where a context carries neither a span nor baggage
	keys  atomic.Pointer[[]string]      // its Fields; nil until somebody asked
}

func newPropagator(given propagation.TextMapPropagator) *propagator {
	p := &propagator{TextMapPropagator: given, given: given}
	if given == nil || delegates(given) {
		p.TextMapPropagator = w3c
	}
	p.w3c = isW3C(p.TextMapPropagator)
	return p
}

// inForce returns the propagator given, else the global one.
func (t *Telemetry) inForce() *propagator {
	if t.propagator != nil {
		return t.propagator
	}
	global := otel.GetTextMapPropagator()
	if last := t.global.Load(); last != nil && same(&last.given, global) {
		return last
	}
	made := newPropagator(global)
	t.global.Store(made)
	return made
}

// isW3C reports whether a propagator is made of OpenTelemetry's own alone.
func isW3C(p propagation.TextMapPropagator) bool {
	switch p.(type) {
	case propagation.TraceContext, propagation.Baggage:
		return true
	}
	composite := reflect.ValueOf(p)
	if composite.Kind() != reflect.Slice || packageOf(p) != reflect.TypeFor[propagation.TraceContext]().PkgPath() {
		return false
	}
	for i := range composite.Len() {
		if part, ok := composite.Index(i).Interface().(propagation.TextMapPropagator); !ok || !isW3C(part) {
			return false
		}
	}
	return true
}
