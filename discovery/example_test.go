package discovery_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// first returns what a resolver says of a service now.
func first(r discovery.Resolver, service string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for s, err := range r.Watch(ctx, service) {
		return write(s, err)
	}
	return "nothing"
}

func ExampleMux() {
	registry := discovery.NewRegistry() // in place of Consul
	_ = registry.Set("users.consul", discovery.Addrs("10.0.0.1:8080")...)

	resolver := discovery.Mux{
		"*.consul": registry,
		"legacy":   discovery.Services{"legacy": discovery.Addrs("10.0.0.9:80")},
	}
	fmt.Println(first(resolver, "users.consul"))
	fmt.Println(first(resolver, "legacy"))
	fmt.Println(first(resolver, "others"))
	// Output:
	// 10.0.0.1:8080
	// 10.0.0.9:80
	// unknown!discovery: no pattern of the Mux matches the name "others"
}

func ExampleFilter() {
	services := discovery.Services{"users": {
		{Addr: "10.0.0.1:8080", Metadata: map[string]string{"version": "1"}},
		{Addr: "10.0.0.2:8080", Metadata: map[string]string{"version": "2"}},
	}}
	second := discovery.Filter(services, func(e discovery.Endpoint) bool { return e.Metadata["version"] == "2" })
	fmt.Println(first(second, "users"))
	// Output: 10.0.0.2:8080
}

// Two registries during a move: the old one counts where both know an endpoint.
func ExampleMerge() {
	before := discovery.Services{"users": discovery.Addrs("10.0.0.1:8080", "10.0.0.2:8080")}
	after := discovery.Services{"users": discovery.Addrs("10.0.0.2:8080", "10.1.0.1:8080")}
	fmt.Println(first(discovery.Merge(before, after), "users"))
	// Output: 10.0.0.1:8080 10.0.0.2:8080 10.1.0.1:8080
}
