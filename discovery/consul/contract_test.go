package consul_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestContract drives the Resolver by the Registrar, through a real agent: what
// is registered is what comes, but for the node's name before the ID.
func TestContract(t *testing.T) {
	agent := consultest.Start(t)
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		addr, failing, disconnect := failable(t, agent)
		resolver := newResolver(t, consul.Config{Address: addr, Logger: slog.New(slog.DiscardHandler)})
		source := newSource(t, agent)
		return resolvertest.Subject{
			Resolver: resolver,
			Set:      source.set,
			Unknown:  "nobody",
			Fail: func(fail bool) error {
				failing.Store(fail)
				return nil
			},
			Same: same,
			Close: func() error {
				defer disconnect()
				return errors.Join(resolver.Close(), source.registrar.Close())
			},
		}
	})
}

// same knows of the two things that Consul has no place for: an ID without the
// node's name, and a zone without a region, which is metadata.
func same(came, set discovery.Endpoint) bool {
	set.ID = "consultest/" + set.ID
	if set.Region == "" && set.Zone != "" {
		set.Metadata = maps.Clone(set.Metadata)
		if set.Metadata == nil {
			set.Metadata = make(map[string]string)
		}
		set.Metadata["zone"] = set.Zone
	}
	return came.Equal(set)
}

// failable is a proxy in front of an agent that answers 500 while it is told to.
func failable(t *testing.T, agent *consultest.Agent) (addr string, failing *atomic.Bool, disconnect func()) {
	t.Helper()
	failing = new(atomic.Bool)
	transport := &http.Transport{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.Addr})
	proxy.Transport, proxy.ErrorLog = transport, log.New(io.Discard, "", 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	disconnect = func() {
		server.CloseClientConnections()
		transport.CloseIdleConnections()
	}
	t.Cleanup(func() {
		disconnect()
		server.Close()
	})
	return server.Listener.Addr().String(), failing, disconnect
}

// source is a service that a Registrar fills and empties.
type source struct {
	registrar *consul.Registrar
	standing  map[string]discovery.Registration
}

func newSource(t *testing.T, agent *consultest.Agent) *source {
	t.Helper()
	return &source{registrar: newRegistrar(t, consul.Config{Address: agent.Addr}), standing: make(map[string]discovery.Registration)}
}

func (s *source) set(endpoints ...discovery.Endpoint) error {
	left := maps.Clone(s.standing)
	for _, e := range endpoints {
		registration, err := s.registrar.Register(context.Background(), "users", e)
		if err != nil {
			return err
		}
		s.standing[e.ID] = registration
		delete(left, e.ID)
	}
	for id, registration := range left {
		if err := registration.Deregister(context.Background()); err != nil {
			return err
		}
		delete(s.standing, id)
	}
	return nil
}
