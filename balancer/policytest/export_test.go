package policytest

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// Patience is how long the tests wait for a Pick that does not return.
const Patience = 200 * time.Millisecond

// Broken returns what each rule that applies finds wrong, of those that find anything.
func Broken(t *testing.T, policy func() balancer.Policy, promises ...Promise) map[string]error {
	t.Helper()
	s, err := newSubject(policy, promises)
	if err != nil {
		t.Fatal(err)
	}
	s.patience = Patience
	broken := make(map[string]error)
	for _, r := range rules {
		if !r.applies(s) {
			continue
		}
		if err := r.test(t, s); err != nil {
			broken[r.name] = err
			if r.first {
				break
			}
		}
	}
	return broken
}

// BreaksRule returns what the rule of that name finds wrong, nil where it does not apply.
func BreaksRule(t *testing.T, name string, policy func() balancer.Policy) error {
	t.Helper()
	s, err := newSubject(policy, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.name == name && r.applies(s) {
			return r.test(t, s)
		}
	}
	return nil
}

// Rules returns the names of all rules.
func Rules() []string {
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	return names
}

// Check is what Run says of a wrong use.
func Check(policy func() balancer.Policy, promises ...Promise) error {
	_, err := newSubject(policy, promises)
	return err
}

// ChiSquaredTail is the tail of the distribution that shares are judged by.
var ChiSquaredTail = chiSquaredTail

// RaceEnabled reports whether the race detector is on.
const RaceEnabled = raceEnabled
