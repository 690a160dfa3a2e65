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
// http.client.request.duration, in seconds.
var durationBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// instruments are what attempts are recorded with, and the attribute sets that
// were recorded before.
type instruments struct {
	duration metric.Float64Histogram
	picks    metric.Int64Counter
	attempts metric.Int64Counter
	retries  metric.Int64Counter
	bodies   metric.Int64Counter

	durations cache[durationKey, []metric.RecordOption]
	counts    cache[countKey, []metric.AddOption]
}

// newInstruments makes the instruments of a provider, nil if it is off.
func newInstruments(provider metric.MeterProvider) (*instruments, error) {
	if off(provider) {
		return nil, nil
	}
	meter := newMeter(provider)
	var errs [5]error
	in := &instruments{
		durations: newCache[durationKey, []metric.RecordOption](1024),
		counts:    newCache[countKey, []metric.AddOption](4096),
	}
	in.duration, errs[0] = meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP client requests."),
		metric.WithExplicitBucketBoundaries(durationBuckets...))
	in.picks, errs[1] = meter.Int64Counter("fairlead.picks", metric.WithUnit("{pick}"),
		metric.WithDescription("Endpoints chosen for an attempt, and why."))
	in.attempts, errs[2] = meter.Int64Counter("fairlead.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts by what became of them."))
	in.retries, errs[3] = meter.Int64Counter("fairlead.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Retries that were wanted, and whether they were sent or what forbade them."))
	in.bodies, errs[4] = meter.Int64Counter("fairlead.body.errors", metric.WithUnit("{error}"),
		metric.WithDescription("Response bodies that broke off, not by the caller."))
	return in, errors.Join(errs[:]...)
}

func newMeter(provider metric.MeterProvider) metric.Meter {
	return provider.Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL))
}

// durationKey holds the attributes of http.client.request.duration.
type durationKey struct {
	method, address string
	port, status    int
	failure         string
	version         string
}

func (in *instruments) recordDuration(ctx context.Context, seconds float64, key durationKey) {
	in.duration.Record(ctx, seconds, *in.durations.get(key, newDurationOptions)...)
}

func newDurationOptions(key durationKey) []metric.RecordOption {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(key.method),
		semconv.ServerAddress(key.address),
	}
	if key.port != 0 {
		attrs = append(attrs, semconv.ServerPort(key.port))
	}
	if key.status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(key.status))
	}
	if key.failure != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(key.failure))
	}
	if key.version != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(key.version))
	}
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
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
	counter.Add(ctx, 1, *in.counts.get(key, newCountOptions)...)
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
func (t *Telemetry) instruments() *instruments {
	in, isNew := t.meters.current()
	if isNew {
		t.observer.follow(&t.meters)
	}
	return in
}

// Retry counts a retry of a call to a service that was wanted. The result is
// what became of the wish, in one of few words: "sent", "attempts", or what forbade it
// ("budget", "unsafe", "body", "deadline", "retry_after").
func (t *Telemetry) Retry(ctx context.Context, service, result string) {
	if in := t.instruments(); in != nil {
		in.count(ctx, in.retries, countKey{service, "", resultKey, result})
	}
}
