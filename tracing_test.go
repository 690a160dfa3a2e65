package fairlead_test

import (
	"context"
	"iter"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

type telemetry struct {
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
	tracer *sdktrace.TracerProvider
}

func newTelemetry() (*telemetry, []fairlead.Option) {
	tel := &telemetry{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	tel.tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(tel.spans))
	return tel, []fairlead.Option{
		fairlead.WithTracerProvider(tel.tracer),
		fairlead.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(tel.reader))),
	}
}

func attr(attrs []attribute.KeyValue, key string) string {
	for _, a := range attrs {
		if string(a.Key) == key {
			return a.Value.Emit()
		}
	}
	return ""
}

// One INTERNAL span per call and one CLIENT span per attempt; the trace context
// and baggage go out with each attempt, under that attempt's span.
func TestSpansOfARetriedCall(t *testing.T) {
	var mu sync.Mutex
	var parents, bags []string
	see := func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		parents = append(parents, r.Header.Get("Traceparent"))
		bags = append(bags, r.Header.Get("Baggage"))
	}
	bad := newServer(t, func(w http.ResponseWriter, r *http.Request) { see(r); w.WriteHeader(503) })
	good := newServer(t, func(w http.ResponseWriter, r *http.Request) { see(r); hello(w, r) })
	tel, opts := newTelemetry()
	mesh := newMesh(t, []*server{bad, good}, append(opts, fairlead.WithBalancer(balancer.RoundRobin()))...)

	member, _ := baggage.NewMember("user", "ann")
	bag, _ := baggage.New(member)
	ctx, root := tel.tracer.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "root")
	for bad.calls.Load() == 0 {
		tel.spans.Reset()
		parents, bags = nil, nil
		req := request(t, http.MethodGet, "http://users/v1?sig=secret", nil).WithContext(ctx)
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		if len(req.Header) != 0 {
			t.Errorf("the caller's header was written to: %v", req.Header)
		}
	}
	settled(t, mesh)
	root.End()

	var call tracetest.SpanStub
	var attempts []tracetest.SpanStub
	for _, s := range tel.spans.GetSpans() {
		switch s.SpanKind {
		case trace.SpanKindClient:
			attempts = append(attempts, s)
		case trace.SpanKindInternal:
			if s.Name != "root" {
				call = s
			}
		}
	}
	if call.Name != "GET users" || call.Parent.SpanID() != root.SpanContext().SpanID() || call.Status.Code == codes.Error {
		t.Errorf("call span %q with parent %s and status %v", call.Name, call.Parent.SpanID(), call.Status)
	}
	if got := attr(call.Attributes, "fairlead.attempts"); got != "2" {
		t.Errorf("fairlead.attempts %q, want 2", got)
	}
	if len(attempts) != 2 || len(parents) != 2 {
		t.Fatalf("%d attempt spans and %d requests, want 2 and 2", len(attempts), len(parents))
	}
	byID := map[string]tracetest.SpanStub{}
	for _, a := range attempts {
		byID[a.SpanContext.SpanID().String()] = a
		if a.Parent.SpanID() != call.SpanContext.SpanID() {
			t.Errorf("attempt span %q is not the call's child", a.Name)
		}
		if got := attr(a.Attributes, "server.address"); got != "users" {
			t.Errorf("server.address %q, want the service", got)
		}
		if attr(a.Attributes, "network.peer.address") != "127.0.0.1" || attr(a.Attributes, "fairlead.endpoint") == "" {
			t.Errorf("attributes %v lack the endpoint", a.Attributes)
		}
	}
	for i, want := range []struct {
		status, resend string
		code           codes.Code
	}{{"503", "", codes.Error}, {"200", "1", codes.Unset}} {
		if len(parents[i]) < 52 {
			t.Fatalf("traceparent %q", parents[i])
		}
		a := byID[parents[i][36:52]]
		if attr(a.Attributes, "http.response.status_code") != want.status || attr(a.Attributes, "http.request.resend_count") != want.resend || a.Status.Code != want.code {
			t.Errorf("attempt %d: status %v, attributes %v, want %v", i, a.Status, a.Attributes, want)
		}
		if bags[i] != "user=ann" {
			t.Errorf("attempt %d: baggage %q, want user=ann", i, bags[i])
		}
	}
}

// The metrics come from the one verdict.
func TestMetricsOfARetriedCall(t *testing.T) {
	bad, good := newServer(t, status(503)), newServer(t, hello)
	tel, opts := newTelemetry()
	mesh := newMesh(t, []*server{bad, good}, append(opts, fairlead.WithBalancer(balancer.RoundRobin()))...)
	for range 10 {
		resp, err := mesh.Client().Get("http://users/raw/path")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	var data metricdata.ResourceMetrics
	if err := tel.reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	durations, attempts, gauges := map[string]uint64{}, map[string]int64{}, map[string]bool{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			gauges[m.Name] = true
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				if m.Name != "http.client.request.duration" {
					continue
				}
				for _, p := range d.DataPoints {
					code, _ := p.Attributes.Value("http.response.status_code")
					durations[code.Emit()] += p.Count
				}
			case metricdata.Sum[int64]:
				if m.Name != "fairlead.attempts" {
					continue
				}
				for _, p := range d.DataPoints {
					outcome, _ := p.Attributes.Value("fairlead.outcome")
					attempts[outcome.Emit()] += p.Value
				}
			}
		}
	}
	if durations["503"] != uint64(bad.calls.Load()) || durations["200"] != 10 {
		t.Errorf("http.client.request.duration counts %v, want 10 of 200 and %d of 503", durations, bad.calls.Load())
	}
	if attempts["failure"] != bad.calls.Load() || attempts["success"] != 10 {
		t.Errorf("fairlead.attempts %v, want 10 successes and %d failures", attempts, bad.calls.Load())
	}
	for _, name := range []string{"fairlead.picks", "fairlead.retries", "fairlead.budget", "fairlead.breaker.state", "fairlead.endpoints", "fairlead.snapshot.age"} {
		if !gauges[name] {
			t.Errorf("no metric %s", name)
		}
	}
}

// Without a provider the context of the caller still goes out.
func TestContextGoesOutWithoutAProvider(t *testing.T) {
	got := make(chan string, 1)
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Traceparent") })
	mesh := newMesh(t, []*server{s})
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	req := request(t, http.MethodGet, "http://users/", nil)
	resp, err := mesh.RoundTrip(req.WithContext(trace.ContextWithRemoteSpanContext(t.Context(), remote)))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	if want := "00-01000000000000000000000000000000-0200000000000000-01"; <-got != want {
		t.Errorf("traceparent is not the caller's %s", want)
	}
}

// A trace context that was copied from a request that came in is replaced as a whole.
func TestCopiedTraceContextIsReplaced(t *testing.T) {
	got := make(chan http.Header, 1)
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	_, opts := newTelemetry()
	req := request(t, http.MethodGet, "http://users/", nil)
	const copied = "00-01000000000000000000000000000000-0200000000000000-01"
	req.Header.Set("Traceparent", copied)
	req.Header.Set("Tracestate", "other=1")
	resp, err := newMesh(t, []*server{s}, opts...).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	sent := <-got
	if p := sent.Values("Traceparent"); len(p) != 1 || p[0] == copied || len(sent.Values("Tracestate")) != 0 {
		t.Errorf("traceparent %q, tracestate %q, want the attempt's own alone", p, sent.Values("Tracestate"))
	}
	if req.Header.Get("Tracestate") != "other=1" {
		t.Error("the caller's request was changed")
	}
}

// marker is a propagator that is seen.
type marker struct{}

func (marker) Inject(_ context.Context, carrier propagation.TextMapCarrier) {
	carrier.Set("Mark", "set")
}
func (marker) Fields() []string { return []string{"mark"} }

func (marker) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context { return ctx }

// Each attempt goes by the propagator of its moment, also while nobody listens: a program
// may set one up while its first calls wait for the registry.
func TestPropagatorSetDuringACall(t *testing.T) {
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	t.Cleanup(func() { otel.SetTextMapPropagator(w3c) })
	t.Run("between attempts", func(t *testing.T) {
		otel.SetTextMapPropagator(w3c)
		f := newFleet(2)
		var marks []string
		for _, e := range f.endpoints {
			e.does(func(req *http.Request) (*http.Response, error) {
				if marks = append(marks, req.Header.Get("Mark")); len(marks) == 1 {
					otel.SetTextMapPropagator(marker{})
					return respond(req, http.StatusServiceUnavailable), nil
				}
				return respond(req, http.StatusOK), nil
			})
		}
		if !succeeds(f.mesh(t)) || len(marks) != 2 || marks[1] != "set" {
			t.Errorf("the attempts carried %q, want the mark with the second", marks)
		}
	})
	t.Run("before the first snapshot", func(t *testing.T) {
		otel.SetTextMapPropagator(w3c)
		asked, told := make(chan struct{}), make(chan struct{})
		resolver := waits{discovery.Services{"users": discovery.Addrs("a:80")}, asked, told}
		mark := ""
		mesh := newMeshOver(t, resolver, fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) {
			return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				mark = req.Header.Get("Mark")
				return respond(req, http.StatusOK), nil
			}), nil
		}))
		go func() {
			<-asked
			otel.SetTextMapPropagator(marker{})
			close(told)
		}()
		if !succeeds(mesh) || mark != "set" {
			t.Errorf("the attempt carried %q, want the mark", mark)
		}
	})
}

// waits is a resolver that says that it was asked, and answers when it is told to.
type waits struct {
	discovery.Services
	asked, told chan struct{}
}

func (w waits) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	close(w.asked)
	<-w.told
	return w.Services.Watch(ctx, service)
}

// A caller who goes away is no error of the attempt's span.
func TestCancelledAttemptIsNoError(t *testing.T) {
	s := newServer(t, hangs(t))
	tel, opts := newTelemetry()
	mesh := newMesh(t, []*server{s}, opts...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx)); err == nil {
		t.Fatal("no error")
	}
	settled(t, mesh)
	for _, span := range tel.spans.GetSpans() {
		if span.SpanKind == trace.SpanKindClient && span.Status.Code == codes.Error {
			t.Errorf("span %q has status %v", span.Name, span.Status)
		}
	}
	if len(tel.spans.GetSpans()) != 2 {
		t.Errorf("%d spans, want 2", len(tel.spans.GetSpans()))
	}
}

// count returns a counter's sum over the points that have the attribute.
func (tel *telemetry) count(t *testing.T, name, key, value string) (sum int64) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := tel.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
				for _, p := range data.DataPoints {
					if attr(p.Attributes.ToSlice(), key) == value {
						sum += p.Value
					}
				}
			}
		}
	}
	return sum
}
