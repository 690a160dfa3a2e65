package tracing

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// ErrClosed is what [Telemetry.Observe] returns after [Telemetry.Close].
var ErrClosed = errors.New("tracing: closed")

// ServiceState is a service as its gauges show it.
type ServiceState struct {
	// Service is its name.
	Service string

	// SnapshotAge is how old the endpoints are that calls go to. A negative
	// one means that there are none yet, and is not told.
	SnapshotAge time.Duration

	// Budget is how many retries may be made now.
	Budget float64

	// Endpoints are all that are known, ready or not.
	Endpoints []EndpointState
}

// EndpointState is an endpoint as the gauges show it.
type EndpointState struct {
	// Endpoint is its identity.
	Endpoint string

	// State is one of few words: "ready", "draining", "open", "half-open",
	// "unhealthy", "ejected", "cooling".
	State string

	// Breaker is "closed", "half-open" or "open". Any other word, such as
	// "off", means that it has none.
	Breaker string
}

// readyState is told also of services that have no endpoint in it.
const readyState = "ready"

// breakerValues is the order of fairlead.breaker.state: the higher the worse.
var breakerValues = map[string]int64{"closed": 0, "half-open": 1, "open": 2}

// Observe has the gauges read from source whenever metrics are collected, until
// [Telemetry.Close]. It follows the global provider, as calls do, and can be
// called for several sources.
//
// Source runs while the SDK holds a lock: it must be quick, make no calls of
// its own through what it observes, and wait for nothing that a call may hold.
func (t *Telemetry) Observe(source func() []ServiceState) error {
	return t.observer.add(&t.meters, source)
}

// observer keeps the sources registered with the provider in force.
type observer struct {
	mu           sync.Mutex
	sources      []func() []ServiceState // guarded by mu; never changed in place
	provider     metric.MeterProvider    // guarded by mu; the one registered with
	registration metric.Registration     // guarded by mu; nil: none
	closed       bool                    // guarded by mu
}

func (o *observer) add(m *meters, source func() []ServiceState) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	o.sources = append(slices.Clip(o.sources), source)
	return o.registerLocked(m.provider())
}

// follow registers with the provider in force if that is another one. It is
// called when a call meets a provider for the first time; which one counts is
// asked under the lock, so that the last to follow follows the newest.
func (o *observer) follow(m *meters) {
	o.mu.Lock()
	defer o.mu.Unlock()
	provider := m.provider()
	if o.closed || len(o.sources) == 0 || same(&o.provider, provider) {
		return
	}
	if err := o.registerLocked(provider); err != nil {
		otel.Handle(err)
	}
}

func (o *observer) registerLocked(provider metric.MeterProvider) error {
	err := o.unregisterLocked()
	o.provider = provider
	// A global that is not set yet passes the registration on to what is set later.
	if off(provider) && !delegates(provider) {
		return err
	}
	registration, registerErr := register(newMeter(provider), o.sources)
	o.registration = registration
	return errors.Join(err, registerErr)
}

func (o *observer) unregisterLocked() error {
	if o.registration == nil {
		return nil
	}
	err := o.registration.Unregister()
	o.registration = nil
	return err
}

func (o *observer) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.sources = nil
	return o.unregisterLocked()
}

// gauges are what the sources are observed with.
type gauges struct {
	budget    metric.Float64ObservableGauge
	breaker   metric.Int64ObservableGauge
	endpoints metric.Int64ObservableUpDownCounter
	age       metric.Float64ObservableGauge
}

func register(meter metric.Meter, sources []func() []ServiceState) (metric.Registration, error) {
	g, err := newGauges(meter)
	if err != nil {
		return nil, err
	}
	observe := func(_ context.Context, to metric.Observer) error {
		for _, source := range sources {
			for _, state := range source() {
				g.observe(to, state)
			}
		}
		return nil
	}
	return meter.RegisterCallback(observe, g.budget, g.breaker, g.endpoints, g.age)
}

func newGauges(meter metric.Meter) (*gauges, error) {
	var (
		g    gauges
		errs [4]error
	)
	g.budget, errs[0] = meter.Float64ObservableGauge("fairlead.budget", metric.WithUnit("{retry}"),
		metric.WithDescription("Retries that the service's budget allows now."))
	g.breaker, errs[1] = meter.Int64ObservableGauge("fairlead.breaker.state", metric.WithUnit("1"),
		metric.WithDescription("State of the endpoint's breaker: 0 closed, 1 half-open, 2 open."))
	g.endpoints, errs[2] = meter.Int64ObservableUpDownCounter("fairlead.endpoints", metric.WithUnit("{endpoint}"),
		metric.WithDescription("Endpoints of the service by state."))
	g.age, errs[3] = meter.Float64ObservableGauge("fairlead.snapshot.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the service's newest snapshot."))
	return &g, errors.Join(errs[:]...)
}

func (g *gauges) observe(to metric.Observer, s ServiceState) {
	service := serviceKey.String(s.Service)
	bare := metric.WithAttributeSet(attribute.NewSet(service))
	to.ObserveFloat64(g.budget, s.Budget, bare)
	if s.SnapshotAge >= 0 {
		to.ObserveFloat64(g.age, s.SnapshotAge.Seconds(), bare)
	}
	states := map[string]int64{readyState: 0}
	for _, e := range s.Endpoints {
		states[e.State]++
		if value, ok := breakerValues[e.Breaker]; ok {
			to.ObserveInt64(g.breaker, value, metric.WithAttributeSet(attribute.NewSet(service, endpointKey.String(e.Endpoint))))
		}
	}
	for state, n := range states {
		to.ObserveInt64(g.endpoints, n, metric.WithAttributeSet(attribute.NewSet(service, stateKey.String(state))))
	}
}
