package main

import (
	"net/http"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// A Mesh with its defaults: P2C, breakers, retries, their budget; nobody listens to
// its telemetry.
var fairleadDefault = mesh("fairlead", false)

var (
	fairleadRoundRobin = mesh("fairlead RoundRobin", false, fairlead.WithBalancer(balancer.RoundRobin()))
	fairleadPeakEWMA   = mesh("fairlead PeakEWMA", false, fairlead.WithBalancer(balancer.PeakEWMA()))
	fairleadRecording  = mesh("fairlead, recording", true)
)

func mesh(name string, recording bool, opts ...fairlead.Option) client {
	return client{name, func(s *site) (session, error) {
		m, err := newMesh(s, recording, opts...)
		if err != nil {
			return session{}, err
		}
		c, to := m.Client(), url(service)
		return session{func() error { return s.get(c.Do, to) }, func() { _ = m.Close() }}, nil
	}}
}

func newMesh(s *site, recording bool, opts ...fairlead.Option) (*fairlead.Mesh, error) {
	if s.memory != nil {
		opts = append(opts, fairlead.WithEndpointTransport(func(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
			return s.memory(e.Addr), nil
		}))
	}
	if recording {
		t := newTelemetry()
		opts = append(opts, fairlead.WithTracerProvider(t.tracers), fairlead.WithMeterProvider(t.meters), fairlead.WithPropagator(t.propagator))
	}
	return fairlead.New(discovery.Services{service: discovery.Addrs(s.addrs...)}, opts...)
}
