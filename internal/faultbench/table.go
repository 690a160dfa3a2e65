package main

import (
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

const second = time.Second

// table is the short scenarios.
func table() []Scenario {
	var all []Scenario
	all = append(all, someSick()...)
	all = append(all, allFailALittle()...)
	all = append(all, oneOfFive()...)
	all = append(all, allSick(fast503), allSick(sigkill), allSick(blackHole), rolling())
	return all
}

var ordinary = Load{Callers: 16, Rate: 600, Timeout: 10 * second}

// someSick: a part of the fleet answers, but badly. To find that out costs a
// number of errors whatever the load, so that their share says something only of
// many calls: here 15,000.
func someSick() []Scenario {
	var all []Scenario
	load := Load{Callers: 32, Rate: 1500, Timeout: 10 * second}
	for _, fleet := range []struct{ sick, of int }{{1, 3}, {2, 6}, {2, 12}} {
		for _, fault := range []Action{fast503, later503, limited429, half500} {
			all = append(all, someSickBy(fleet.sick, fleet.of, fault, load, breakers, longestOpen))
		}
	}
	return append(all, someSickBy(2, 12, fast503, load, checks, 2*checkEvery))
}

// longestOpen is a breaker's longest open period.
const longestOpen = 10 * second

func someSickBy(sick, of int, fault Action, load Load, guard string, letIn time.Duration) Scenario {
	slots := firsts(sick)
	name := fmt.Sprintf("%d of %d: %s", sick, of, fault.Name)
	if guard != breakers {
		name += ", " + guard
	}
	return Scenario{
		Name: name, Servers: of, Load: load, Mesh: Mesh{Guard: guard},
		Steps:  []Step{{2 * second, fault, slots}, {12 * second, healed, slots}},
		Length: 13 * second, LetIn: 15 * second,
		Bounds: []Bound{
			errorsWhile(mostErrors(sick, of, fault)), attemptsWhile(1.05, 0), letInWithin(letIn), fairAfter(3 * second),
		},
	}
}

// mostErrors: a 500 is not retried; of two that are sick among six, one may
// retry on the other.
func mostErrors(sick, of int, fault Action) float64 {
	switch {
	case fault.Name == half500.Name:
		return 0.01
	case sick == 2 && of == 6:
		return 0.005
	}
	return 0.0005
}

// allFailALittle: a bug that every endpoint has.
func allFailALittle() []Scenario {
	var all []Scenario
	for _, n := range []int{1, 3, 10} {
		all = append(all, Scenario{
			Name:    fmt.Sprintf("all %d: 22 %%, then 30 %% errors", n),
			Servers: n, Load: ordinary, Mesh: Mesh{Guard: ejection},
			Steps:  []Step{{0, errorsAt(0.22), firsts(n)}, {6 * second, errorsAt(0.30), firsts(n)}},
			Length: 12 * second,
			Bounds: []Bound{addedErrors(0.01)},
		})
	}
	return all
}

// oneOfFive: one endpoint is gone, or so it looks.
func oneOfFive() []Scenario {
	var all []Scenario
	for _, h2c := range []bool{false, true} {
		for _, fault := range []Action{sigkill, sigstop, resets, blackHole, halves} {
			all = append(all, oneOfFiveHas(fault, Mesh{Guard: breakers, H2C: h2c}))
		}
		all = append(all, oneOfFiveHas(slow100, Mesh{Guard: breakers, H2C: h2c, Policy: balancer.PeakEWMA()}))
	}
	return append(all,
		oneOfFiveHas(slow100, Mesh{Guard: breakers, Policy: balancer.LeastConn()}),
		oneOfFiveHas(slow100, Mesh{Guard: hedges, Policy: balancer.PeakEWMA()}),
	)
}

func oneOfFiveHas(fault Action, mesh Mesh) Scenario {
	name := "1 of 5: " + fault.Name
	if mesh.H2C {
		name += ", h2c"
	}
	if mesh.Policy != nil {
		name += ", " + mesh.Policy.Name()
	}
	if mesh.Guard != breakers {
		name += ", " + mesh.Guard
	}
	mesh.AttemptTimeout = second
	return Scenario{
		Name: name, Servers: 5, Proxied: fault.needsProxy(), Load: ordinary, Mesh: mesh,
		Steps:  []Step{{3 * second, fault, []int{0}}, {12 * second, healed, []int{0}}},
		Length: 13 * second,
		Bounds: []Bound{noErrors(get), p99Within(5*second, 2)},
	}
}

// allSick: the whole service is down for a while.
func allSick(fault Action) Scenario {
	const n = 3
	return Scenario{
		Name: "all 3: " + fault.Name + ", then well", Servers: n, Proxied: fault.needsProxy(), Load: ordinary,
		Mesh:   Mesh{Guard: breakers, AttemptTimeout: second},
		Steps:  []Step{{2 * second, fault, firsts(n)}, {8 * second, healed, firsts(n)}},
		Length: 13 * second,
		Bounds: []Bound{attemptsWhile(1.2, 10), healthyWithin(2 * second)},
	}
}

// rolling: everything is restarted, Consul included.
func rolling() Scenario {
	load := ordinary
	load.Posts = 0.2
	return Scenario{
		Name: "rolling restart of 5 and Consul", Servers: 5, Load: load, Mesh: Mesh{Guard: breakers},
		Steps: []Step{
			{2 * second, replace, []int{0}}, {4 * second, replace, []int{1}},
			{6 * second, consulDies, nil}, {9 * second, consulReturns, nil},
			{16 * second, replace, []int{2}}, {18 * second, replace, []int{3}}, {20 * second, replace, []int{4}},
		},
		Length: 24 * second,
		Bounds: []Bound{noErrors(get, post), notTwice()},
	}
}

// firsts are the first n servers.
func firsts(n int) []int {
	slots := make([]int, n)
	for i := range slots {
		slots[i] = i
	}
	return slots
}
