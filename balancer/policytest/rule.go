package policytest

import (
	"errors"
	"fmt"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

// rule is one thing that is due, and how to see that it is not done.
type rule struct {
	name  string // of the subtest
	due   string
	first bool                // runs in real time, and without it no other can
	when  func(*subject) bool // nil means always
	check func(*subject) error
}

var rules = []rule{
	{name: "returns", due: "NewPicker and Pick return", first: true, check: checkReturns},
	{name: "waits", due: "Pick and NewPicker do not wait", check: checkWaits},
	{name: "name", due: "Name is not empty and always the same", check: checkName},
	{name: "prev", due: "NewPicker works with no prev, with one of its own and with another policy's", check: checkPrev},
	{name: "empty", due: "a Picker without nodes returns a Choice without a node", check: checkEmpty},
	{name: "members", due: "Pick returns only nodes that its Picker was made for", check: checkMembers},
	{name: "shared", due: "a Policy is shared by services: what it makes for one knows nothing of another", check: checkShared},
	{name: "ready", due: "Pick returns a ready node while there is one", check: checkReady},
	{name: "avoid", due: "Pick returns another node than the call avoids, and none when it avoids all", check: checkAvoid},
	{name: "context", due: "Pick works for a call with any context, and with none", check: checkContext},
	{name: "sizes", due: "a Picker works for one node and for a thousand", check: checkSizes},
	{name: "weights", due: "weights from 1 to 1,000,000 work, and what they take does not grow with them", check: checkWeights},
	{name: "reach", due: "every ready node is reached by some calls, or the policy says Selective", when: reaches, check: checkReach},
	{name: "reason", due: "Reason is one of a few constant phrases", check: checkReason},
	{name: "nodes", due: "NewPicker and Pick do not change the slice of nodes", check: checkNodes},
	{name: "leavers", due: "a node that left is not kept alive by the Picker that follows", check: checkLeavers},
	{name: "observe", due: "Observe takes every verdict, also on a node that has left", check: checkObserve},
	{name: "allocations", due: "Pick does not allocate", when: counted, check: checkAllocations},
	{name: "concurrent", due: "Pick can be called from many goroutines while NewPicker runs and readiness changes", check: checkConcurrent},

	{name: "even", due: "Even: every ready node gets the same share", when: func(s *subject) bool { return s.even }, check: checkEven},
	{name: "weighted", due: "Weighted: ready nodes get shares by their weights", when: func(s *subject) bool { return s.weighted }, check: checkWeighted},
	{name: "sticky", due: "Sticky: a key stays at its node, and few move when others come and go", when: func(s *subject) bool { return s.sticky }, check: checkSticky},
	{name: "consistent", due: "Consistent: two clients agree on the node of a key", when: func(s *subject) bool { return s.consistent }, check: checkConsistent},
}

func reaches(s *subject) bool { return !s.selective }

// Under the race detector a sync.Pool forgets at random.
func counted(*subject) bool { return !raceEnabled }

func (r *rule) applies(s *subject) bool { return r.when == nil || r.when(s) }

// test returns what is wrong, nil when the rule is kept.
func (r *rule) test(t *testing.T, s *subject) (err error) {
	if r.first {
		return guard(func() error { return r.check(s) })
	}
	// A goroutine that is left behind makes the bubble panic.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("goroutines were left behind: %v", v)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		err = guard(func() error { return r.check(s) })
	})
	return err
}

// guard makes an error of a panic.
func guard(f func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case fault:
			err = errors.New(string(v))
		default:
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}
