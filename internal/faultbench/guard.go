package main

import (
	"log/slog"
	"net/http"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// The guards: what keeps a Mesh off the endpoints that fail.
const (
	breakers   = "breakers"
	noBreakers = "no breakers"
)

// guards are the options of each. What is new belongs here, and into scenarios
// beside those with breakers.
var guards = map[string][]fairlead.Option{
	breakers:   {},
	noBreakers: {fairlead.WithoutBreaker()},
}

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
