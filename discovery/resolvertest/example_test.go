package resolvertest_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

// TestRegistry is how a Resolver's own tests call the suite.
func TestRegistry(t *testing.T) {
	resolvertest.Run(t, func(*testing.T) resolvertest.Subject {
		registry := discovery.NewRegistry()
		return resolvertest.Subject{
			Resolver: registry,
			Set: func(endpoints ...discovery.Endpoint) error {
				return registry.Set("users", endpoints...)
			},
			Unknown: "nobody",
		}
	})
}

func Example() {
	// go test -race -run TestRegistry
	_ = TestRegistry
}
