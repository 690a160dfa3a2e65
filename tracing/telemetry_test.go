package tracing_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var (
	success = balancer.Outcome{Verdict: balancer.Success}
	failure = balancer.Outcome{Verdict: balancer.Failure}
	neutral = balancer.Outcome{}
)

// rig is a Telemetry whose spans and metrics can be read.
type rig struct {
	*tracing.Telemetry
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.Telemetry = newTelemetry(t, tracing.Config{
		TracerProvider: r.tracer,
		// Newer SDKs keep no more than 2000 series of an instrument, if not told otherwise.
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader), sdkmetric.WithCardinalityLimit(0)),
	})
	return r
}

func newTelemetry(t testing.TB, cfg tracing.Config) *tracing.Telemetry {
	t.Helper()
	telemetry, err := tracing.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := telemetry.Close(); err != nil {
			t.Error(err)
		}
	})
	return telemetry
}

// span returns the one span of a kind that has ended.
func (r *rig) span(t testing.TB, kind trace.SpanKind) sdktrace.ReadOnlySpan {
	t.Helper()
	var found sdktrace.ReadOnlySpan
	for _, span := range r.spans.Ended() {
		if span.SpanKind() != kind {
			continue
		}
		if found != nil {
			t.Fatalf("more than one span of kind %v", kind)
		}
		found = span
	}
	if found == nil {
		t.Fatalf("no span of kind %v", kind)
	}
	return found
}

// attempt runs one attempt and returns its span.
func (r *rig) attempt(t testing.TB, info *tracing.AttemptInfo, v tracing.Verdict) sdktrace.ReadOnlySpan {
	t.Helper()
	_, a := r.StartAttempt(t.Context(), info)
	a.Verdict(v)
	a.End(nil)
	return r.span(t, trace.SpanKindClient)
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	return pairs(span.Attributes())
}

func pairs(attrs []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range attrs {
		m[string(kv.Key)] = kv.Value.Emit()
	}
	return m
}

// points returns a metric's value, a histogram's count, by its attributes, which
// are written like "fairlead.result=sent,fairlead.service=users".
func points(t testing.TB, reader sdkmetric.Reader, name string) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				addPoints(found, m.Data)
			}
		}
	}
	return found
}

func addPoints(to map[string]float64, data metricdata.Aggregation) {
	key := func(s attribute.Set) string { return s.Encoded(attribute.DefaultEncoder()) }
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			to[key(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			to[key(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			to[key(p.Attributes)] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			to[key(p.Attributes)] = float64(p.Count)
		}
	}
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func usersInfo(t testing.TB) *tracing.AttemptInfo {
	t.Helper()
	return &tracing.AttemptInfo{
		Service:  "users",
		Endpoint: "users-1",
		Addr:     "10.0.0.1:8080",
		Reason:   "p2c",
		Request:  get(t, "http://users/v1/42"),
	}
}

// refusing is a provider whose counters cannot be made.
type refusing struct{ metric.MeterProvider }

type refusingMeter struct{ metric.Meter }

var errRefused = errors.New("refused")

func (p refusing) Meter(name string, options ...metric.MeterOption) metric.Meter {
	return refusingMeter{p.MeterProvider.Meter(name, options...)}
}

func (refusingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, errRefused
}

func TestNewTellsOfRefusedInstruments(t *testing.T) {
	_, err := tracing.New(tracing.Config{MeterProvider: refusing{sdkmetric.NewMeterProvider()}})
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "MeterProvider") {
		t.Errorf("New: %v, want the provider's error and the field's name", err)
	}
}

func TestGlobalThatRefusesIsOff(t *testing.T) {
	before := otel.GetErrorHandler()
	t.Cleanup(func() { otel.SetErrorHandler(before) })
	var handled []error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { handled = append(handled, err) }))
	setMeterProvider(t, refusing{sdkmetric.NewMeterProvider()})
	telemetry := newTelemetry(t, tracing.Config{})
	for range 3 {
		telemetry.Retry(t.Context(), "users", "sent")
	}
	if len(handled) != 1 || !errors.Is(handled[0], errRefused) {
		t.Errorf("handled %v, want the provider's error once", handled)
	}
}
