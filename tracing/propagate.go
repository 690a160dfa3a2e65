package tracing

import (
	"context"

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
	if t.propagator != nil {
		t.propagator.Inject(ctx, carrier)
		return
	}
	if global := otel.GetTextMapPropagator(); global != nil && !delegates(global) {
		global.Inject(ctx, carrier)
		return
	}
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, carrier)
	}
	if baggage.FromContext(ctx).Len() > 0 {
		propagation.Baggage{}.Inject(ctx, carrier)
	}
}
