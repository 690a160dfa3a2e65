package tracing

import (
	"context"
	"reflect"
	"strings"

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
	if given := t.propagatorInForce(); given != nil {
		given.Inject(ctx, carrier)
		return
	}
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, carrier)
	}
	if baggage.FromContext(ctx).Len() > 0 {
		propagation.Baggage{}.Inject(ctx, carrier)
	}
}

// Fields returns the keys that [Telemetry.Inject] may write, by the propagator
// in force, in lower case as the metadata of gRPC has them. Whoever adds what
// is injected to what is sent already, rather than replacing it, removes these
// keys there first: they may have been copied from a request that came in, and
// tracestate must not go out beside another's traceparent.
//
// The result is shared and must not be changed. Propagators of OpenTelemetry's
// API are asked once, and it allocates nothing after that.
func (t *Telemetry) Fields() []string {
	given := t.propagatorInForce()
	if given == nil {
		return w3cFields
	}
	if known := t.fields.Load(); known != nil && known.of(given) {
		return known.keys
	}
	made := &fieldsOf{given, reflect.ValueOf(given).Comparable(), lowered(given.Fields())}
	t.fields.Store(made)
	return made.keys
}

// w3cFields are the keys of what Inject does where nobody has set a propagator.
var w3cFields = []string{"traceparent", "tracestate", "baggage"}

// fieldsOf holds the keys of the propagator that was asked last.
type fieldsOf struct {
	propagator propagation.TextMapPropagator
	comparable bool
	keys       []string
}

// of reports whether the fields are those of a propagator. A composite is a
// slice, which cannot be compared: it is the same where it is at the same place.
func (f *fieldsOf) of(p propagation.TextMapPropagator) bool {
	if f.comparable {
		return f.propagator == p // safe: a value that was found comparable never panics when compared
	}
	ours, theirs := reflect.ValueOf(f.propagator), reflect.ValueOf(p)
	return ours.Type() == theirs.Type() && ours.Kind() == reflect.Slice &&
		ours.Len() == theirs.Len() && ours.UnsafePointer() == theirs.UnsafePointer()
}

func lowered(keys []string) []string {
	made := make([]string, len(keys))
	for i, key := range keys {
		made[i] = strings.ToLower(key)
	}
	return made
}

// propagatorInForce returns the one given, else the global one, and nil where
// nobody has set any.
func (t *Telemetry) propagatorInForce() propagation.TextMapPropagator {
	if t.propagator != nil {
		return t.propagator
	}
	global := otel.GetTextMapPropagator()
	if unset := t.unset.Load(); global == nil || unset != nil && *unset == global {
		return nil
	}
	if delegates(global) {
		seen := global // a pointer, so that it can be compared
		t.unset.Store(&seen)
		return nil
	}
	return global
}
