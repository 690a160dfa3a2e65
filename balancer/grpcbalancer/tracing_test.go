package grpcbalancer_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// telemetry is what the OpenTelemetry SDK was told.
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

// take returns the spans of the one call that was made since it was last asked.
func (tel *telemetry) take(t *testing.T) (call tracetest.SpanStub, attempts []tracetest.SpanStub) {
	t.Helper()
	calls := 0
	for _, s := range tel.spans.GetSpans() {
		switch s.SpanKind {
		case trace.SpanKindInternal:
			call = s
			calls++
		case trace.SpanKindClient:
			attempts = append(attempts, s)
		}
	}
	tel.spans.Reset()
	if calls != 1 {
		t.Errorf("%d spans of calls, want one", calls)
	}
	for _, a := range attempts {
		if a.Parent.SpanID() != call.SpanContext.SpanID() {
			t.Errorf("attempt span %q is not the call's child", a.Name)
		}
	}
	return call, attempts
}

// counts returns a metric's values by one of its attributes.
func (tel *telemetry) counts(t *testing.T, metric, by string) map[string]int64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := tel.reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	add := func(set attribute.Set, n int64) {
		v, _ := set.Value(attribute.Key(by))
		counts[v.Emit()] += n
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != metric {
				continue
			}
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, int64(p.Count))
				}
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, p.Value)
				}
			}
		}
	}
	return counts
}

func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.Emit()
		}
	}
	return ""
}

// arrivals keeps the metadata with which calls arrived, in order.
type arrivals struct {
	mu   sync.Mutex
	seen []metadata.MD
}

func (a *arrivals) note(ctx context.Context) int {
	md, _ := metadata.FromIncomingContext(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, md)
	return len(a.seen)
}

func (a *arrivals) take() []metadata.MD {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// arrivedUnder checks that each call arrived under the span of its own attempt.
func arrivedUnder(t *testing.T, arrived []metadata.MD, attempts []tracetest.SpanStub) {
	t.Helper()
	if len(arrived) != len(attempts) {
		t.Fatalf("%d arrivals of %d attempts", len(arrived), len(attempts))
	}
	for i, a := range attempts {
		want := "00-" + a.SpanContext.TraceID().String() + "-" + a.SpanContext.SpanID().String() + "-01"
		if got := arrived[i].Get("traceparent"); len(got) != 1 || got[0] != want {
			t.Errorf("arrival %d has traceparent %q, want once %q", i, got, want)
		}
	}
}

// observed has the backends note what arrives. The nth arrival ends with fails(n).
func (f *fleet) observed(a *arrivals, fails func(n int) error) {
	f.each(func(b *backend) {
		b.does(func(ctx context.Context) error { return fails(a.note(ctx)) })
		b.streams(func(stream grpc.ServerStream) error {
			if err := fails(a.note(stream.Context())); err != nil {
				return err
			}
			return stream.SendMsg(&health.HealthCheckResponse{})
		})
	})
}

func TestSpansOfARetriedCall(t *testing.T) {
	tel, opts := newTelemetry()
	f := newFleet(t, 3, append(opts, fairlead.WithRetry(retry.Config{Safe: always, Attempts: 3}), fairlead.WithoutBreaker())...)
	var seen arrivals
	f.observed(&seen, func(n int) error {
		if n < 3 {
			return errBusy
		}
		return nil
	})
	member, _ := baggage.NewMember("user", "ann")
	bag, _ := baggage.New(member)
	ctx, root := tel.tracer.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "root", trace.WithSpanKind(trace.SpanKindServer))
	defer root.End()

	verify := func(t *testing.T, method string) {
		t.Helper()
		f.idle(t)
		call, attempts := tel.take(t)
		if call.Name != method+" users" || call.Parent.SpanID() != root.SpanContext().SpanID() || call.Status.Code == otelcodes.Error || attr(call, "fairlead.attempts") != "3" || attr(call, "rpc.response.status_code") != "OK" {
			t.Errorf("the call's span is %q, status %v, %v", call.Name, call.Status, call.Attributes)
		}
		if len(attempts) != 3 {
			t.Fatalf("%d attempts", len(attempts))
		}
		endpoints := map[string]bool{}
		for i, want := range []struct {
			resend, status string
			code           otelcodes.Code
		}{{"", "UNAVAILABLE", otelcodes.Error}, {"1", "UNAVAILABLE", otelcodes.Error}, {"2", "OK", otelcodes.Unset}} {
			a := attempts[i]
			endpoints[attr(a, "fairlead.endpoint")] = true
			if a.Name != method || attr(a, "fairlead.resend_count") != want.resend || attr(a, "rpc.response.status_code") != want.status || a.Status.Code != want.code || attr(a, "rpc.method") != method || attr(a, "server.address") != "users" {
				t.Errorf("attempt %d is %q, status %v, %v, want %v", i, a.Name, a.Status, a.Attributes, want)
			}
		}
		if len(endpoints) != 3 {
			t.Errorf("the endpoints were %v, want three", endpoints)
		}
		arrived := seen.take()
		arrivedUnder(t, arrived, attempts)
		for i, md := range arrived {
			if got := md.Get("baggage"); len(got) != 1 || got[0] != "user=ann" {
				t.Errorf("arrival %d has baggage %q", i, got)
			}
		}
	}
	// What the caller had in his metadata is replaced.
	stale := metadata.AppendToOutgoingContext(ctx, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage", "user=bob", "other", "kept")
	for name, ctx := range map[string]context.Context{"unary": ctx, "unary, over another trace context": stale} {
		t.Run(name, func(t *testing.T) {
			tel.spans.Reset()
			mustCheckIn(ctx, t, f.conn)
			verify(t, "grpc.health.v1.Health/Check")
		})
	}
	t.Run("stream", func(t *testing.T) {
		tel.spans.Reset()
		stream := open(ctx, t, f)
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err == nil {
			t.Error("no end")
		}
		verify(t, "grpc.health.v1.Health/Watch")
	})
}

func mustCheckIn(ctx context.Context, t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	if err := check(ctx, conn); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsOfRetriedCalls(t *testing.T) {
	tel, opts := newTelemetry()
	f := newFleet(t, 3, append(opts, fairlead.WithRetry(safe), fairlead.WithoutBreaker())...)
	f.idle(t)
	const attempts, durations, retries = "fairlead.attempts", "rpc.client.call.duration", "fairlead.retries"
	before := tel.counts(t, attempts, "fairlead.outcome")["success"]
	beforeOK := tel.counts(t, durations, "rpc.response.status_code")["OK"]
	if before == 0 || beforeOK != before {
		t.Errorf("%d attempts and %d durations before", before, beforeOK)
	}
	bad := f.backends[0]
	bad.code.Store(uint32(codes.Unavailable))
	mustCheck(t, f.conn, 9)
	f.idle(t)
	n := bad.calls.Load()
	if got := tel.counts(t, attempts, "fairlead.outcome"); got["success"]-before != 9 || got["failure"] != n {
		t.Errorf("%s: %v, want 9 more than %d successes and %d failures", attempts, got, before, n)
	}
	if got := tel.counts(t, durations, "rpc.response.status_code"); got["OK"]-beforeOK != 9 || got["UNAVAILABLE"] != n {
		t.Errorf("%s: %v, want 9 more than %d OK and %d UNAVAILABLE", durations, got, beforeOK, n)
	}
	if got := tel.counts(t, retries, "fairlead.result"); got["sent"] != n {
		t.Errorf("%s: %v, want %d sent", retries, got, n)
	}
}

// What the caller gave up is nobody's error; what our time limits ended is one.
func TestSpansOfEndedCalls(t *testing.T) {
	tel, opts := newTelemetry()
	opts = append(opts, fairlead.WithoutBreaker())
	t.Run("cancelled", func(t *testing.T) {
		f := newFleet(t, 1, opts...)
		f.backends[0].held.Store(true)
		f.idle(t)
		tel.spans.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- check(ctx, f.conn) }()
		eventually(t, "the call arrives", func() bool { return f.backends[0].waiting.Load() == 1 })
		cancel()
		<-ended
		f.idle(t)
		call, attempts := tel.take(t)
		if len(attempts) != 1 || call.Status.Code == otelcodes.Error || attempts[0].Status.Code == otelcodes.Error {
			t.Errorf("status %v of the call, %v: want no error", call.Status, attempts)
		}
		if got := tel.counts(t, "fairlead.attempts", "fairlead.outcome"); got["failure"] != 0 || got["neutral"] == 0 {
			t.Errorf("%v, want it neutral", got)
		}
	})
	t.Run("stream cancelled", func(t *testing.T) {
		f := newFleet(t, 1, opts...)
		f.idle(t)
		tel.spans.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream := open(ctx, t, f)
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if n := len(tel.spans.GetSpans()); n != 0 {
			t.Errorf("%d spans have ended while the stream lasts", n)
		}
		cancel()
		f.idle(t)
		call, attempts := tel.take(t)
		if len(attempts) != 1 || call.Status.Code == otelcodes.Error || attempts[0].Status.Code == otelcodes.Error {
			t.Errorf("status %v of the call, %v: want no error", call.Status, attempts)
		}
	})
	t.Run("timed out", func(t *testing.T) {
		f := newFleet(t, 1, append(opts, fairlead.WithRetry(retry.Config{AttemptTimeout: 30 * time.Millisecond}))...)
		f.backends[0].held.Store(true)
		f.idle(t)
		tel.spans.Reset()
		_ = check(t.Context(), f.conn)
		f.idle(t)
		call, attempts := tel.take(t)
		if len(attempts) != 1 || call.Status.Code != otelcodes.Error || attempts[0].Status.Code != otelcodes.Error ||
			attr(call, "rpc.response.status_code") != "DEADLINE_EXCEEDED" || attr(attempts[0], "rpc.response.status_code") != "DEADLINE_EXCEEDED" {
			t.Errorf("the call %v %v, attempts %v: want that both timed out", call.Status, call.Attributes, attempts)
		}
	})
	t.Run("no endpoint", func(t *testing.T) {
		registry := discovery.NewRegistry()
		if err := registry.Set("users"); err != nil {
			t.Fatal(err)
		}
		conn := dial(t, newMesh(t, registry, opts...), "fairlead:///users")
		tel.spans.Reset()
		if err := check(t.Context(), conn); err == nil {
			t.Error("an answer")
		}
		call, attempts := tel.take(t)
		if len(attempts) != 0 || attr(call, "fairlead.attempts") != "0" || attr(call, "rpc.response.status_code") != "UNAVAILABLE" {
			t.Errorf("%v, %d attempts", call.Attributes, len(attempts))
		}
	})
}

// What gRPC sends again by itself is an attempt like any other.
func TestSpansOfTransparentRetries(t *testing.T) {
	tel, opts := newTelemetry()
	good := newBackend(t)
	var seen arrivals
	good.does(func(ctx context.Context) error {
		seen.note(ctx)
		return nil
	})
	bad := newRude(t, func(f *http2.Framer, stream uint32) error {
		return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
	})
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(good.addr, bad.addr)},
		append(opts, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker())...)
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "the good endpoint is connected", func() bool { return good.calls.Load() > 0 })
	bad.requests.Store(0)
	eventually(t, "the bad endpoint is called", func() bool {
		tel.spans.Reset()
		seen.take()
		if err := check(t.Context(), conn); err != nil {
			t.Error(err)
		}
		return bad.requests.Load() > 0
	})
	call, attempts := tel.take(t)
	if len(attempts) != 2 || attr(call, "fairlead.attempts") != "2" || attr(attempts[0], "fairlead.endpoint") != bad.addr ||
		attr(attempts[1], "fairlead.endpoint") != good.addr || attr(attempts[1], "fairlead.resend_count") != "1" {
		t.Fatalf("%v; attempts %v", call.Attributes, attempts)
	}
	arrivedUnder(t, seen.take(), attempts[1:])
}

// Without a tracer of the Mesh's own, what the caller's context carries goes out
// all the same, and nothing does where it carries nothing.
func TestMetadataWithoutATracer(t *testing.T) {
	f := newFleet(t, 1)
	var seen arrivals
	f.observed(&seen, func(int) error { return nil })
	mustCheck(t, f.conn, 1)
	for key := range seen.take()[0] {
		if strings.HasPrefix(key, "trace") || key == "baggage" {
			t.Errorf("%s was sent", key)
		}
	}
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), remote)
	const want = "00-01000000000000000000000000000000-0200000000000000-01"
	mustCheckIn(ctx, t, f.conn)
	if got := seen.take()[0].Get("traceparent"); len(got) != 1 || got[0] != want {
		t.Errorf("traceparent %q, want the caller's once", got)
	}
	// A proxy that copies what came in has it in both places.
	mustCheckIn(metadata.AppendToOutgoingContext(ctx, "traceparent", want), t, f.conn)
	if got := seen.take()[0].Get("traceparent"); len(got) != 1 || got[0] != want {
		t.Errorf("traceparent %q, want the caller's once", got)
	}
	// Without anything to replace it, what the caller sends is his affair.
	mustCheckIn(metadata.AppendToOutgoingContext(t.Context(), "traceparent", want), t, f.conn)
	if got := seen.take()[0].Get("traceparent"); len(got) != 1 || got[0] != want {
		t.Errorf("traceparent %q, want the caller's once", got)
	}
}
