package consul_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

func Example() {
	// In place of an agent: one that knows two endpoints of users.
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		fmt.Fprint(w, `[
			{"Node": {"Node": "a", "Address": "10.0.0.1"}, "Service": {"ID": "users-1", "Port": 8080}},
			{"Node": {"Node": "b", "Address": "10.0.0.2"}, "Service": {"ID": "users-1", "Port": 8080, "Weights": {"Passing": 3, "Warning": 1}}}
		]`)
	}))
	defer agent.Close()

	resolver, err := consul.New(consul.Config{Address: agent.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resolver.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for snapshot, err := range resolver.Watch(ctx, "users") {
		if err != nil {
			fmt.Println(err) // keep what you have
			continue
		}
		for _, e := range snapshot.Endpoints {
			fmt.Println(e.ID, e.Addr, e.Weight)
		}
		break // a program goes on
	}
	// Output:
	// a/users-1 10.0.0.1:8080 1
	// b/users-1 10.0.0.2:8080 3
}

// A server registers itself once it serves, and is gone from Consul before it
// stops.
func ExampleNewRegistrar() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	var database interface{ PingContext(context.Context) error } // of this server

	registrar, err := consul.NewRegistrar(consul.Config{},
		consul.HTTPCheck{Path: "/healthz"},
		consul.TTLCheck{Ready: func(ctx context.Context) error { return database.PingContext(ctx) }},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registrar.Close()

	server := &http.Server{Addr: ":8080"}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println(err)
		}
	}()
	registration, err := registrar.Register(ctx, "users", discovery.Endpoint{Addr: "10.0.0.1:8080", Weight: 3, Zone: "a"})
	if err != nil {
		fmt.Println(err)
		return
	}

	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := registration.Deregister(ctx); err != nil { // no new calls from here on
		fmt.Println(err)
	}
	if err := server.Shutdown(ctx); err != nil { // those in flight finish
		fmt.Println(err)
	}
}
