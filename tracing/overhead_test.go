package tracing_test

import (
	"context"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/tracing"
)

// idle is a processor that takes spans and does nothing with them.
type idle struct{}

func (idle) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (idle) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (idle) Shutdown(context.Context) error                  { return nil }
func (idle) ForceFlush(context.Context) error                { return nil }

func recording() tracing.Config {
	return tracing.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(idle{})),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	}
}

// bareSpans is what a call costs without us: two spans, with one attribute each,
// and an injection.
func bareSpans(ctx context.Context, tracer trace.Tracer, carrier propagation.TextMapCarrier) {
	ctx, call := tracer.Start(ctx, "GET users", trace.WithSpanKind(trace.SpanKindInternal))
	ctx, attempt := tracer.Start(ctx, "GET", trace.WithSpanKind(trace.SpanKindClient))
	propagation.TraceContext{}.Inject(ctx, carrier)
	attempt.SetAttributes(attribute.Int("http.response.status_code", 200))
	attempt.End()
	call.SetAttributes(attribute.Int("fairlead.attempts", 1))
	call.End()
}

func TestRecordingAllocatesLittle(t *testing.T) {
	allowed := 8.0
	if raceEnabled {
		allowed = 30
	}
	cfg := recording()
	telemetry, info, header := newTelemetry(t, cfg), usersInfo(t), http.Header{}
	ctx, tracer := t.Context(), cfg.TracerProvider.Tracer("bare")
	bare := testing.AllocsPerRun(200, func() { bareSpans(ctx, tracer, propagation.HeaderCarrier(header)) })
	ours := testing.AllocsPerRun(200, func() { wholeCall(ctx, telemetry, info, propagation.HeaderCarrier(header)) })
	t.Logf("two bare spans and an injection: %v allocations, a whole call: %v", bare, ours)
	if ours > bare+allowed {
		t.Errorf("%v allocations, want at most %v more than %v", ours, allowed, bare)
	}
}

func TestRecordingRPCAllocatesLittle(t *testing.T) {
	allowed := 4.0
	if raceEnabled {
		allowed = 30
	}
	cfg := recording()
	telemetry, md := newTelemetry(t, cfg), metadata{}
	ctx, tracer := t.Context(), cfg.TracerProvider.Tracer("bare")
	ok := &tracing.Verdict{Outcome: success}
	bare := testing.AllocsPerRun(200, func() { bareSpans(ctx, tracer, md) })
	ours := testing.AllocsPerRun(200, func() { wholeRPC(ctx, telemetry, md, ok) })
	t.Logf("two bare spans and an injection: %v allocations, a whole RPC: %v", bare, ours)
	if ours > bare+allowed {
		t.Errorf("%v allocations, want at most %v more than %v", ours, allowed, bare)
	}
}

// Metrics alone cost nothing once an RPC was seen.
func TestMeasuringRPCAllocatesNothing(t *testing.T) {
	allowed := 0.0
	if raceEnabled {
		allowed = 30
	}
	cfg := recording()
	cfg.TracerProvider = nil
	telemetry, md, ctx := newTelemetry(t, cfg), &lazy{}, t.Context()
	failed := &tracing.Verdict{StatusCode: 14, Err: errRefused, Outcome: failure}
	if n := testing.AllocsPerRun(200, func() { wholeRPC(ctx, telemetry, md, failed) }); n > allowed {
		t.Errorf("%v allocations, want at most %v", n, allowed)
	}
}

func BenchmarkCall(b *testing.B) {
	unsampled := recording()
	unsampled.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	metrics := recording()
	metrics.TracerProvider = nil
	configs := []struct {
		name string
		cfg  tracing.Config
	}{
		{"off", tracing.Config{}},
		{"metrics", metrics},
		{"unsampled", unsampled},
		{"recording", recording()},
	}
	for _, c := range configs {
		b.Run(c.name, func(b *testing.B) {
			telemetry, info, header := newTelemetry(b, c.cfg), usersInfo(b), http.Header{}
			b.ReportAllocs()
			for b.Loop() {
				wholeCall(b.Context(), telemetry, info, propagation.HeaderCarrier(header))
			}
		})
	}
	b.Run("bare spans", func(b *testing.B) {
		tracer, header := recording().TracerProvider.Tracer("bare"), http.Header{}
		b.ReportAllocs()
		for b.Loop() {
			bareSpans(b.Context(), tracer, propagation.HeaderCarrier(header))
		}
	})
}
