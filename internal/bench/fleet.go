package main

import (
	"fmt"

	"github.com/fairlead-go/fairlead/discovery"
)

// address is where the i-th endpoint of a fleet listens, or would.
func address(i int) string { return fmt.Sprintf("10.%d.%d.%d:8080", i>>16, i>>8&0xff, i&0xff) }

// addresses are those of a fleet.
func addresses(n int) []string {
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = address(i)
	}
	return addrs
}

// weight is the i-th endpoint's where weights count.
func weight(i int) int { return 1 + i%7 }

// one is a weight for all.
func one(int) int { return 1 }

func endpoints(n int, weight func(int) int) []discovery.Endpoint {
	fleet := make([]discovery.Endpoint, n)
	for i := range fleet {
		fleet[i] = discovery.Endpoint{Addr: address(i), Weight: weight(i)}
	}
	return fleet
}
