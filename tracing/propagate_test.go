package tracing_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/tracing"
)

func TestInjectsTraceContextAndBaggage(t *testing.T) {
	r := newRig(t)
	member, err := baggage.NewMember("tenant", "42")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx, a := r.StartAttempt(baggage.ContextWithBaggage(t.Context(), bag), usersInfo(t))
	defer a.End(nil)

	carrier := propagation.MapCarrier{}
	r.Inject(ctx, carrier)
	sent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), carrier))
	if want := trace.SpanContextFromContext(ctx); sent.SpanID() != want.SpanID() || !sent.IsSampled() {
		t.Errorf("injected %v, want the attempt's span %v", sent, want)
	}
	if carrier["baggage"] != "tenant=42" {
		t.Errorf("injected %v", carrier)
	}
}

func TestInjectsSpanThatIsNotRecorded(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))})
	ctx, a := telemetry.StartAttempt(t.Context(), usersInfo(t))
	carrier := propagation.MapCarrier{}
	telemetry.Inject(ctx, carrier)
	a.Verdict(tracing.Verdict{StatusCode: 200, Outcome: success})
	a.End(nil)
	sent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), carrier))
	if !sent.IsValid() || sent.IsSampled() {
		t.Errorf("injected %v, want a span that is not sampled", carrier)
	}
}

// Whoever is traced by other means is not cut off by a Telemetry that is off.
func TestInjectsWhileOff(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{})
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	carrier := propagation.MapCarrier{}
	telemetry.Inject(trace.ContextWithRemoteSpanContext(t.Context(), sc), carrier)
	if carrier["traceparent"] == "" {
		t.Error("nothing injected")
	}
}

// marking sets a header of its own.
type marking struct{ propagation.TextMapPropagator }

func (marking) Inject(_ context.Context, carrier propagation.TextMapCarrier) {
	carrier.Set("mark", "1")
}

func TestPropagatorInForce(t *testing.T) {
	own := newTelemetry(t, tracing.Config{Propagator: marking{}})
	global := newTelemetry(t, tracing.Config{})
	carrier := propagation.MapCarrier{}
	own.Inject(t.Context(), carrier)
	if carrier["mark"] != "1" {
		t.Error("Config.Propagator is not asked")
	}

	before := otel.GetTextMapPropagator()
	t.Cleanup(func() { otel.SetTextMapPropagator(before) })
	otel.SetTextMapPropagator(marking{})
	carrier = propagation.MapCarrier{}
	global.Inject(t.Context(), carrier)
	if carrier["mark"] != "1" {
		t.Error("the global propagator is not asked")
	}

	// One that does nothing was set on purpose.
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	carrier = propagation.MapCarrier{}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	global.Inject(trace.ContextWithSpanContext(t.Context(), sc), carrier)
	if len(carrier) != 0 {
		t.Errorf("injected %v", carrier)
	}
}
