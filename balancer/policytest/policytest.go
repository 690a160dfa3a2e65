package policytest

import (
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
)

// Run tests the Policy that policy makes, by every rule of the interface and by
// its promises, each in a subtest of t. policy is called anew for each rule, as
// often as the rule needs a Policy; it must not return nil.
//
// Run takes a few seconds at most, under the race detector too. A Pick that never
// returns ends it after ten seconds. It counts allocations, so no other test may
// run in parallel.
func Run(t *testing.T, policy func() balancer.Policy, promises ...Promise) {
	t.Helper()
	s, err := newSubject(policy, promises)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if !r.applies(s) {
			continue
		}
		kept := t.Run(r.name, func(t *testing.T) {
			if err := r.test(t, s); err != nil {
				t.Errorf("%s.\n%v", r.due, err)
			}
		})
		if !kept && r.first {
			return // the others would wait for ever
		}
	}
}
