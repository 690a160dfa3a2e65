package tracing

import (
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scopeName is the instrumentation scope of all spans and metrics.
const scopeName = "github.com/fairlead-go/fairlead"

// Config says where telemetry goes. The zero value means OpenTelemetry's
// globals.
type Config struct {
	// TracerProvider makes the spans. Nil means the global provider, looked up
	// for each call, so that one set later counts; until one is set, tracing
	// is off. A no-op provider switches it off.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the instruments. Nil means the global provider,
	// under the same rule.
	MeterProvider metric.MeterProvider

	// Propagator injects a context into what is sent. Nil means the global
	// propagator where one was set, else W3C Trace Context and Baggage.
	Propagator propagation.TextMapPropagator
}

// Telemetry makes the spans and metrics of calls and attempts. It is safe for
// concurrent use and takes no lock on a call's way. The zero value does not
// work: use [New].
type Telemetry struct {
	tracers    tracers
	meters     meters
	propagator *propagator                // nil: the global one
	global     atomic.Pointer[propagator] // that was seen last; nil while none was
	silent     atomic.Pointer[silence]    // that was found last; nil while there was none
	methods    rpcMethods
	calls      cache[callKey, callStart]
	observer   observer
}

// New returns a Telemetry. It fails when the given MeterProvider refuses an
// instrument. The global one may not be there yet: what it refuses later is
// told to OpenTelemetry's error handler, and metrics stay off.
func New(cfg Config) (*Telemetry, error) {
	t := &Telemetry{calls: newCache[callKey, callStart](256)}
	if cfg.Propagator != nil && !delegates(cfg.Propagator) {
		t.propagator = newPropagator(cfg.Propagator)
	}
	if cfg.TracerProvider != nil && !delegates(cfg.TracerProvider) {
		t.tracers.give(cfg.TracerProvider)
	}
	if cfg.MeterProvider != nil && !delegates(cfg.MeterProvider) {
		if err := t.meters.give(cfg.MeterProvider); err != nil {
			return nil, fmt.Errorf("tracing: Config.MeterProvider: %w", err)
		}
	}
	return t, nil
}

// Off reports whether neither spans nor metrics are wanted now, so that whoever is about
// to make a call and its attempts need not ask for each. The next call may be told
// otherwise: providers can be set at any time. What a context carries is to be injected
// all the same: see [Telemetry.Bare].
func (t *Telemetry) Off() bool {
	tracers, meters := t.tracers.provider(), t.meters.provider()
	if known := t.silent.Load(); known != nil && same(&known.tracers, tracers) &&
		same(&known.meters.provider, meters) && known.meters == t.meters.last.Load() {
		return true
	}
	return t.silence(tracers, meters)
}

// silence finds out whether two providers want nothing, and remembers it.
func (t *Telemetry) silence(tracers trace.TracerProvider, meters metric.MeterProvider) bool {
	if t.tracers.of(tracers) != nil {
		return false
	}
	seen := t.metering(meters)
	if seen.made != nil {
		return false
	}
	t.silent.Store(&silence{tracers, seen})
	return true
}

// silence is a pair of providers of which neither wants anything. That of meters must
// still be the last that was seen: else the gauges have followed another meanwhile.
type silence struct {
	tracers trace.TracerProvider
	meters  *metering
}

// Close stops what [Telemetry.Observe] started. Spans that are open still end
// as they should. It can be called more than once.
func (t *Telemetry) Close() error {
	return t.observer.close()
}
