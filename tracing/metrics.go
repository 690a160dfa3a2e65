package tracing

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
)

// Attributes of ours. Each of them is bounded: what a service, its endpoints
// and our own code can be.
const (
	serviceKey  = attribute.Key("fairlead.service")
	endpointKey = attribute.Key("fairlead.endpoint")
	reasonKey   = attribute.Key("fairlead.pick.reason")
	outcomeKey  = attribute.Key("fairlead.outcome")
	resultKey   = attribute.Key("fairlead.result")
	stateKey    = attribute.Key("fairlead.state")
	attemptsKey = attribute.Key("fairlead.attempts")
	resendKey   = attribute.Key("fairlead.resend_count")
)

// durationBuckets are the bounds that the conventions advise for
// http.client.request.duration and rpc.client.call.duration, in seconds.
var durationBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// instruments are what attempts are recorded with, and the attribute sets that
// were recorded before.
type instruments struct {
	http     metric.Float64Histogram
	rpc      metric.Float64Histogram
	picks    metric.Int64Counter
	attempts metric.Int64Counter
	retries  metric.Int64Counter
	hedges   metric.Int64Counter
	bodies   metric.Int64Counter

	httpSets  cache[httpDurationKey, []metric.RecordOption]
	rpcSets   cache[rpcDurationKey, []metric.RecordOption]
	countSets cache[countKey, []metric.AddOption]
}

// newInstruments makes the instruments of a provider, nil if it is off.
func newInstruments(provider metric.MeterProvider) (*instruments, error) {
	if off(provider) {
		return nil, nil
	}
	meter := newMeter(provider)
	var errs [7]error
	in := &instruments{
		httpSets:  newCache[httpDurationKey, []metric.RecordOption](1024),
		rpcSets:   newCache[rpcDurationKey, []metric.RecordOption](1024),
		countSets: newCache[countKey, []metric.AddOption](4096),
	}
	in.http, errs[0] = meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP client requests."),
		metric.WithExplicitBucketBoundaries(durationBuckets...))
	in.rpc, errs[1] = meter.Float64Histogram("rpc.client.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Measures the duration of outbound remote procedure calls (RPC)."),
		metric.WithExplicitBucketBoundaries(durationBuckets...))
	in.picks, errs[2] = meter.Int64Counter("fairlead.picks", metric.WithUnit("{pick}"),
		metric.WithDescription("Endpoints chosen for an attempt, and why."))
	in.attempts, errs[3] = meter.Int64Counter("fairlead.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts by what became of them."))
	in.retries, errs[4] = meter.Int64Counter("fairlead.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Retries that were wanted, and whether they were sent or what forbade them."))
	in.bodies, errs[5] = meter.Int64Counter("fairlead.body.errors", metric.WithUnit("{error}"),
		metric.WithDescription("Response bodies that broke off, not by the caller."))
	in.hedges, errs[6] = meter.Int64Counter("fairlead.hedges", metric.WithUnit("{hedge}"),
		metric.WithDescription("Calls that waited for long enough to be sent a second time, and what came of it."))
	return in, errors.Join(errs[:]...)
}

func newMeter(provider metric.MeterProvider) metric.Meter {
	return provider.Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL))
}

func (in *instruments) recordHTTP(ctx context.Context, seconds float64, key httpDurationKey) {
	in.http.Record(ctx, seconds, *in.httpSets.get(key, newRecordOptions)...)
}

func (in *instruments) recordRPC(ctx context.Context, seconds float64, key rpcDurationKey) {
	in.rpc.Record(ctx, seconds, *in.rpcSets.get(key, newRecordOptions)...)
}

func newRecordOptions[K interface{ attributes() []attribute.KeyValue }](key K) []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(key.attributes()...))}
}

// countKey holds the attributes of a counter: a service, an endpoint unless
// there is none, and one more that differs from counter to counter, unless it
// is empty.
type countKey struct {
	service, endpoint string
	label             attribute.Key
	value             string
}

func (in *instruments) count(ctx context.Context, counter metric.Int64Counter, key countKey) {
	counter.Add(ctx, 1, *in.countSets.get(key, newCountOptions)...)
}

func newCountOptions(key countKey) []metric.AddOption {
	attrs := []attribute.KeyValue{serviceKey.String(key.service)}
	if key.value != "" {
		attrs = append(attrs, key.label.String(key.value))
	}
	if key.endpoint != "" {
		attrs = append(attrs, endpointKey.String(key.endpoint))
	}
	return []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}

// instruments returns those in force, nil when metrics are off.
func (t *Telemetry) instruments() *instruments { return t.metering(t.meters.provider()).made }

// metering is what was made of provider, which is the one in force. The gauges follow.
func (t *Telemetry) metering(provider metric.MeterProvider) *metering {
	seen, isNew := t.meters.of(provider)
	if isNew {
		t.observer.follow(&t.meters)
	}
	return seen
}

// Retry counts a retry of a call to a service that was wanted. The result is
// what became of the wish, in one of few words: "sent", "attempts", or what forbade it
// ("budget", "unsafe", "body", "deadline", "retry_after").
func (t *Telemetry) Retry(ctx context.Context, service, result string) {
	if in := t.instruments(); in != nil {
		in.count(ctx, in.retries, countKey{service, "", resultKey, result})
	}
}

// Hedge counts a call to a service that waited for long enough to be sent a second
// time. The result is what came of that: "won" where the second answer was the
// first to come, "lost" where it was not, "failed", or "budget" where that forbade it.
func (t *Telemetry) Hedge(ctx context.Context, service, result string) {
	if in := t.instruments(); in != nil {
		in.count(ctx, in.hedges, countKey{service, "", resultKey, result})
	}
}
