package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	soakServers   = 6
	shortestFault = time.Second
	longestFault  = 8 * time.Second
	longestRest   = 6 * time.Second // of a server between two faults

	consulRestsAtLeast = 10 * time.Second
	consulRestsAtMost  = 60 * time.Second
	consulDownAtMost   = 5 * time.Second
)

// soak makes a scenario of random faults from a seed. Server 0 is always well.
func soak(seed uint64, length time.Duration) Scenario {
	return Scenario{
		Name: "soak", Servers: soakServers, Proxied: true,
		Load:   Load{Callers: 64, Rate: 600, Timeout: 5 * second, Posts: 0.2, RPCs: 0.1},
		Mesh:   Mesh{Guard: everything, AttemptTimeout: second},
		Steps:  randomFaults(rand.New(rand.NewPCG(seed, 0)), soakServers, length),
		Length: length,
		Bounds: []Bound{notTwice()},
	}
}

// consulRestarts kill Consul now and then, which comes back with nothing.
func consulRestarts(between func(least, most time.Duration) time.Duration, length time.Duration) (steps []Step) {
	for at := between(consulRestsAtLeast, consulRestsAtMost); ; at += between(consulRestsAtLeast, consulRestsAtMost) {
		until := at + between(shortestFault, consulDownAtMost)
		if until >= length {
			return steps
		}
		steps = append(steps, Step{at, consulDies, nil}, Step{until, consulReturns, nil})
		at = until
	}
}

// randomFaults are those of Consul and of the servers but the first, each healed
// in the end, one at a time for each server, in order.
func randomFaults(random *rand.Rand, servers int, length time.Duration) []Step {
	faults := []Action{
		fast503, later503, limited429, half500, errorsAt(0.3), slow100,
		sigkill, sigstop, resets, blackHole, halves,
	}
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	steps := consulRestarts(between, length)
	for slot := 1; slot < servers; slot++ {
		for at := between(0, longestRest); ; at += between(0, longestRest) {
			until := at + between(shortestFault, longestFault)
			if until >= length {
				break
			}
			steps = append(steps, Step{at, faults[random.IntN(len(faults))], []int{slot}}, Step{until, healed, []int{slot}})
			at = until
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return steps
}
