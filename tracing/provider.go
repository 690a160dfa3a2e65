package tracing

import (
	"reflect"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"
)

// globalPath holds the types of the globals that nobody has set. OpenTelemetry
// has no way to ask whether one was set; the package of its type tells.
const globalPath = "go.opentelemetry.io/otel/internal/global"

// delegates reports whether v is a global that nobody has set: all it does is
// to pass on to what may be set later.
func delegates(v any) bool {
	return packageOf(v) == globalPath
}

// off reports whether a provider does nothing.
func off(provider any) bool {
	switch packageOf(provider) {
	case globalPath,
		"go.opentelemetry.io/otel/trace/noop",
		"go.opentelemetry.io/otel/metric/noop":
		return true
	}
	return provider == nil
}

func packageOf(v any) string {
	typ := reflect.TypeOf(v)
	if typ == nil {
		return ""
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ.PkgPath()
}

// tracers finds the tracer in force. The zero value follows the global provider.
type tracers struct {
	given trace.TracerProvider // nil: the global one
	last  memo[trace.TracerProvider, tracer]
}

// tracer is what a provider that is not off gave.
type tracer struct{ trace.Tracer }

// give makes provider the one that counts. It must come before any other method.
func (t *tracers) give(provider trace.TracerProvider) {
	t.given = provider
	t.last.put(provider, newTracer(provider))
}

// provider returns the one in force, off or not.
func (t *tracers) provider() trace.TracerProvider {
	if t.given != nil {
		return t.given
	}
	return otel.GetTracerProvider()
}

// current returns the tracer in force, nil when tracing is off.
func (t *tracers) current() *tracer { return t.of(t.provider()) }

// of is current where provider is the one in force.
func (t *tracers) of(provider trace.TracerProvider) *tracer {
	if last := t.last.Load(); last != nil && same(&last.provider, provider) {
		return last.made
	}
	return t.last.put(provider, newTracer(provider)).made
}

func newTracer(provider trace.TracerProvider) *tracer {
	if off(provider) {
		return nil
	}
	return &tracer{provider.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL))}
}

// meters finds the instruments in force. The zero value follows the global provider.
type meters struct {
	given metric.MeterProvider // nil: the global one
	last  memo[metric.MeterProvider, instruments]
}

// give makes provider the one that counts. It must come before any other method.
func (m *meters) give(provider metric.MeterProvider) error {
	made, err := newInstruments(provider)
	m.given = provider
	m.last.put(provider, made)
	return err
}

// provider returns the one in force, off or not.
func (m *meters) provider() metric.MeterProvider {
	if m.given != nil {
		return m.given
	}
	return otel.GetMeterProvider()
}

// metering is a sighting of a provider, with nil where metrics are off.
type metering = sighting[metric.MeterProvider, instruments]

// of returns what was made of provider, which is the one in force. New means that it was
// not the last that was seen.
func (m *meters) of(provider metric.MeterProvider) (seen *metering, isNew bool) {
	if last := m.last.Load(); last != nil && same(&last.provider, provider) {
		return last, false
	}
	made, err := newInstruments(provider)
	if err != nil {
		otel.Handle(err)
		made = nil
	}
	return m.last.put(provider, made), true
}

// memo remembers what was made of the provider that was seen last: one atomic
// load and a comparison while it stays the same. Two that see a new provider
// at once both make it theirs, which OpenTelemetry answers alike.
type memo[P, V any] struct {
	atomic.Pointer[sighting[P, V]] // nil while none was seen
}

type sighting[P, V any] struct {
	provider P
	made     *V
}

func (m *memo[P, V]) put(provider P, made *V) *sighting[P, V] {
	seen := &sighting[P, V]{provider, made}
	m.Store(seen)
	return seen
}
