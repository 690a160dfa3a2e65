package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// The guards: what keeps a Mesh off the endpoints that fail.
const (
	breakers   = "breakers"
	noBreakers = "no breakers"
	checks     = "breakers and active checks"
	ejection   = "breakers and outlier ejection"
	hedges     = "breakers and hedges"
	everything = "breakers, checks, ejection, hedges, limits"
)

// checkEvery is the interval of active checks.
const checkEvery = 2 * time.Second

// guards are the options of each. What is new belongs here, and into scenarios
// beside those with breakers.
var guards = map[string][]fairlead.Option{
	breakers:   {},
	noBreakers: {fairlead.WithoutBreaker()},
	checks:     {checked},
	ejection:   {fairlead.WithOutlierEjection(health.Ejection{})},
	hedges:     {fairlead.WithHedge(retry.Hedge{})},
	everything: {
		checked, fairlead.WithOutlierEjection(health.Ejection{}), fairlead.WithHedge(retry.Hedge{}),
		fairlead.WithLimit(breaker.Limit{Service: 60, Endpoint: 40, Queue: 1000}),
	},
}

var checked = fairlead.WithHealthCheck(health.Check{Protocol: health.HTTP, Path: checkPath, Interval: checkEvery})

// open makes the Mesh.
func (m *Mesh) open(resolver discovery.Resolver) (*fairlead.Mesh, error) {
	options := append([]fairlead.Option{
		fairlead.WithLogger(slog.New(slog.DiscardHandler)),
		fairlead.WithRetry(retry.Config{AttemptTimeout: m.AttemptTimeout}),
		fairlead.WithAttemptMiddleware(countAttempts),
	}, guards[m.Guard]...)
	if m.Policy != nil {
		options = append(options, fairlead.WithBalancer(m.Policy))
	}
	if m.H2C {
		options = append(options, fairlead.WithTransport(speakH2C))
	}
	return fairlead.New(resolver, options...)
}

func speakH2C(t *http.Transport) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
}
