package tracing_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

func setPropagator(t testing.TB, propagator propagation.TextMapPropagator) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagator)
	t.Cleanup(func() { otel.SetTextMapPropagator(before) })
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

	setPropagator(t, marking{})
	carrier = propagation.MapCarrier{}
	global.Inject(t.Context(), carrier)
	if carrier["mark"] != "1" {
		t.Error("the global propagator is not asked")
	}

	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, marking{}))
	carrier = propagation.MapCarrier{}
	global.Inject(t.Context(), carrier)
	if carrier["mark"] != "1" {
		t.Error("one beside W3C's is not asked where there is no span")
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

// Who is told that a context is bare does not ask for its injection: nothing must be
// missing then, whatever the propagator is by now.
func TestBareIsWhereNothingIsInjected(t *testing.T) {
	bag, err := baggage.Parse("tenant=42")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
	contexts := map[string]context.Context{
		"nothing":      t.Context(),
		"a span":       trace.ContextWithSpanContext(t.Context(), sc),
		"baggage":      baggage.ContextWithBaggage(t.Context(), bag),
		"empty things": trace.ContextWithSpanContext(baggage.ContextWithBaggage(t.Context(), baggage.Baggage{}), trace.SpanContext{}),
	}
	check := func(name string, telemetry *tracing.Telemetry, wants map[string]bool) {
		t.Helper()
		for carried, ctx := range contexts {
			bare, carrier := telemetry.Bare(ctx), propagation.MapCarrier{}
			telemetry.Inject(ctx, carrier)
			if bare != wants[carried] || bare && len(carrier) > 0 {
				t.Errorf("%s, %s: bare is %v, want %v; injected %v", name, carried, bare, wants[carried], carrier)
			}
		}
	}
	byW3C, never := map[string]bool{"nothing": true, "empty things": true}, map[string]bool{}
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	global := newTelemetry(t, tracing.Config{})
	check("nobody set one", global, byW3C)
	setPropagator(t, marking{})
	check("a global of its own kind", global, never)
	otel.SetTextMapPropagator(w3c)
	check("W3C again", global, byW3C)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(w3c, marking{}))
	check("one beside W3C", global, never)

	check("W3C was given", newTelemetry(t, tracing.Config{Propagator: w3c}), byW3C)
	otel.SetTextMapPropagator(w3c)
	check("another was given", newTelemetry(t, tracing.Config{Propagator: marking{}}), never)
}

// metadata is a carrier as gRPC's metadata is one: its keys are in lower case.
type metadata map[string][]string

func (m metadata) Get(key string) string {
	if values := m[strings.ToLower(key)]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (m metadata) Set(key, value string) { m[strings.ToLower(key)] = []string{value} }

func (m metadata) Keys() []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// lazy is metadata that is made when it is written to.
type lazy struct{ metadata }

func (l *lazy) Set(key, value string) {
	if l.metadata == nil {
		l.metadata = metadata{}
	}
	l.metadata.Set(key, value)
}

func w3c() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// A carrier that is made lazily costs nothing where there is nothing to inject.
func TestInjectsIntoLazyCarrier(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	traced := trace.ContextWithSpanContext(t.Context(), sc)
	tests := map[string]struct{ given, global propagation.TextMapPropagator }{
		"nothing set":   {},
		"W3C, given":    {given: w3c()},
		"W3C, global":   {global: w3c()},
		"TraceContext":  {given: propagation.TraceContext{}},
		"none, given":   {given: propagation.NewCompositeTextMapPropagator()},
		"Baggage alone": {global: propagation.Baggage{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.global != nil {
				setPropagator(t, tt.global)
			}
			telemetry, carrier := newTelemetry(t, tracing.Config{Propagator: tt.given}), &lazy{}
			ctx := t.Context()
			if n := testing.AllocsPerRun(100, func() { telemetry.Inject(ctx, carrier) }); n != 0 || carrier.metadata != nil {
				t.Errorf("%v allocations and %v, want nothing", n, carrier.metadata)
			}
			telemetry.Inject(traced, carrier)
			if want := slices.Contains(telemetry.Fields(), "traceparent"); (carrier.Get("traceparent") != "") != want {
				t.Errorf("injected %v", carrier.metadata)
			}
		})
	}
}

// naming is a propagator whose keys it is told.
type naming struct {
	propagation.TextMapPropagator
	keys  []string
	asked *int
}

func (n *naming) Fields() []string {
	*n.asked++
	return n.keys
}

// unlike is a propagator that cannot be compared.
type unlike struct {
	propagation.TextMapPropagator
	_ []int
}

func TestFields(t *testing.T) {
	all := []string{"baggage", "traceparent", "tracestate"}
	asked, unlikeAsked := 0, 0
	own := &naming{keys: []string{"X-Amzn-Trace-Id"}, asked: &asked}
	tests := []struct {
		name          string
		given, global propagation.TextMapPropagator
		want          []string
	}{
		{name: "nothing set", want: all},
		{name: "the unset global, given", given: otel.GetTextMapPropagator(), want: all},
		{name: "given", given: w3c(), want: all},
		{name: "global", global: w3c(), want: all},
		{name: "given before global", given: propagation.Baggage{}, global: w3c(), want: []string{"baggage"}},
		{name: "none", global: propagation.NewCompositeTextMapPropagator(), want: nil},
		{name: "upper case", given: own, want: []string{"x-amzn-trace-id"}},
		{name: "not comparable", global: unlike{TextMapPropagator: &naming{keys: []string{"a"}, asked: &unlikeAsked}}, want: []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.global != nil {
				setPropagator(t, tt.global)
			}
			telemetry := newTelemetry(t, tracing.Config{Propagator: tt.given})
			for range 2 {
				if diff := cmp.Diff(tt.want, slices.Sorted(slices.Values(telemetry.Fields()))); diff != "" {
					t.Errorf("Fields (-want +got):\n%s", diff)
				}
			}
		})
	}
	if asked != 1 || unlikeAsked != 1 {
		t.Errorf("the propagators were asked %d and %d times, want once", asked, unlikeAsked)
	}
}

// Composites are slices: one that replaces another is not taken for it.
func TestFieldsFollowTheGlobal(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{})
	asked := 0
	for _, key := range []string{"a", "b", "c"} {
		setPropagator(t, propagation.NewCompositeTextMapPropagator(&naming{keys: []string{key}, asked: &asked}))
		if diff := cmp.Diff([]string{key}, telemetry.Fields()); diff != "" {
			t.Errorf("Fields (-want +got):\n%s", diff)
		}
	}
	for _, key := range []string{"a", "b"} {
		setPropagator(t, &naming{keys: []string{key}, asked: &asked})
		if diff := cmp.Diff([]string{key}, telemetry.Fields()); diff != "" {
			t.Errorf("Fields (-want +got):\n%s", diff)
		}
	}
}

// All that Inject writes is among the fields, so that whoever removes them
// first sends nothing twice.
func TestFieldsAreWhatIsInjected(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.Parse("tenant=42")
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithSpanContext(baggage.ContextWithBaggage(t.Context(), bag),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state}))
	for name, cfg := range map[string]tracing.Config{"nothing set": {}, "given": {Propagator: w3c()}} {
		t.Run(name, func(t *testing.T) {
			telemetry, carrier := newTelemetry(t, cfg), metadata{}
			telemetry.Inject(ctx, carrier)
			want := slices.Sorted(slices.Values(telemetry.Fields()))
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(carrier.Keys()))); diff != "" {
				t.Errorf("injected (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFieldsAllocateNothing(t *testing.T) {
	tests := map[string]struct{ given, global propagation.TextMapPropagator }{
		"nothing set": {},
		"given":       {given: w3c()},
		"global":      {global: w3c()},
		"struct":      {given: propagation.TraceContext{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.global != nil {
				setPropagator(t, tt.global)
			}
			telemetry := newTelemetry(t, tracing.Config{Propagator: tt.given})
			if n := testing.AllocsPerRun(100, func() { telemetry.Fields() }); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}
