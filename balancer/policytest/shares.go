package policytest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/balancer"
)

// These are the rules of shares.

const (
	shareCalls  = 10_000
	alpha       = 1e-6 // the chance that a faultless policy is blamed
	inFlightPer = 10   // calls in flight per weight of a service under load
)

func alike(*balancer.Node) float64      { return 1 }
func byWeight(n *balancer.Node) float64 { return float64(n.Weight()) }

func checkEven(s *subject) error {
	return s.checkShares(uneven, alike)
}

func checkWeighted(s *subject) error {
	if err := s.checkShares(even, byWeight); err != nil {
		return err
	}
	return s.checkReweighed()
}

// checkShares tries a service in some states, idle with the weights given and
// under load with weights that differ.
func (s *subject) checkShares(idle func(int) int, share func(*balancer.Node) float64) error {
	for _, try := range []struct {
		what   string
		n      int
		weight func(int) int
		load   bool
		ill    []int // not ready
	}{
		{what: "an idle service of two", n: 2, weight: idle},
		{what: "an idle service of seven", n: 7, weight: idle},
		{what: "an idle service of seven, of which two neighbours are not ready", n: 7, weight: idle, ill: []int{3, 4}},
		{what: "a service of two with calls in flight", n: 2, weight: uneven, load: true},
		{what: "a service of seven with calls in flight", n: 7, weight: uneven, load: true},
		{what: "a service of seven with calls in flight, of which one is not ready", n: 7, weight: uneven, load: true, ill: []int{3}},
	} {
		f := newFleet(try.n, try.weight)
		for _, i := range try.ill {
			set(f.nodes[i], balancer.Refusing)
		}
		err := s.checkShare(f, build(s.policy(), f.nodes, nil), try.load, share)
		f.close()
		if err != nil {
			return fmt.Errorf("%s: %w", try.what, err)
		}
	}
	if err := s.checkNewcomer(idle, share); err != nil {
		return fmt.Errorf("an idle service of six, after a seventh joined: %w", err)
	}
	return nil
}

// A newcomer has nothing to catch up on.
func (s *subject) checkNewcomer(weight func(int) int, share func(*balancer.Node) float64) error {
	f := newFleet(7, weight)
	defer f.close()
	policy := s.policy()
	p := build(policy, f.without(6), nil)
	before := s.load(f, p, 0)
	for range 5000 {
		if _, err := before.next(); err != nil {
			return err
		}
	}
	return s.checkShare(f, build(policy, f.nodes, p), false, share)
}

// Only the weights change, and not the nodes.
func (s *subject) checkReweighed() error {
	f := newFleet(7, even)
	defer f.close()
	policy := s.policy()
	p := build(policy, f.nodes, nil)
	endpoints := slices.Clone(f.endpoints)
	for i := range endpoints {
		endpoints[i].Weight = uneven(i)
	}
	f.update(endpoints)
	if err := s.checkShare(f, build(policy, f.nodes, p), true, byWeight); err != nil {
		return fmt.Errorf("a service of seven whose weights have changed: %w", err)
	}
	return nil
}

// checkShare makes many calls and compares where they went with the shares that
// are due to the ready nodes.
func (s *subject) checkShare(f *fleet, p balancer.Picker, loaded bool, share func(*balancer.Node) float64) error {
	inFlight, sum := 0, 0.0
	for _, n := range f.nodes {
		if n.Ready() {
			sum += share(n)
			inFlight += inFlightPer * n.Weight()
		}
	}
	if !loaded {
		inFlight = 0
	}
	l := s.load(f, p, inFlight)
	defer l.end()
	counts := make(map[*balancer.Node]int)
	for range shareCalls {
		n, err := l.next()
		if err != nil {
			return err
		}
		counts[n]++
	}
	chi, freedom := 0.0, -1
	var table strings.Builder
	for _, n := range f.nodes {
		if !n.Ready() {
			continue
		}
		want := shareCalls * share(n) / sum
		d := float64(counts[n]) - want
		chi += d * d / want
		freedom++
		fmt.Fprintf(&table, "\n%q, weight %d: %d calls, %.0f are due", n.ID(), n.Weight(), counts[n], want)
	}
	if p := chiSquaredTail(chi, freedom); p < alpha {
		return fmt.Errorf("such shares have a chance of %.1g (chi-squared is %.1f), want at least %.0g:%s", p, chi, alpha, &table)
	}
	return nil
}

// chiSquaredTail is the probability that a chi-squared variable exceeds x:
// Abramowitz and Stegun 26.4.4 and 26.4.5.
func chiSquaredTail(x float64, freedom int) float64 {
	if freedom <= 0 {
		return 1
	}
	tail, term, first := math.Exp(-x/2), math.Exp(-x/2), 2
	if freedom%2 == 1 {
		tail, first = math.Erfc(math.Sqrt(x/2)), 1
		term = math.Sqrt(2/(math.Pi*x)) * math.Exp(-x/2)
	}
	for r := first; r <= freedom-2; r += 2 {
		term *= x / float64(r)
		tail += term
	}
	return tail
}
