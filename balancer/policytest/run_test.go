package policytest_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/policytest"
)

const subjectOfRun = "FAIRLEAD_TEST_POLICY"

// What fails a test for good is run in a process of its own.
func runSubjects() map[string]func() balancer.Policy {
	return map[string]func() balancer.Policy{
		"sound": func() balancer.Policy { return sound() },
		"unready": building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(nodes)
		}),
		"leaving goroutines": building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			if len(nodes) == 9 {
				go func() { select {} }()
			}
			return anyOf(readyOf(nodes))
		}),
		"racing": building(newRacing),
		"racing over prev": building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			old, ok := prev.(*anyPicker)
			if !ok || len(old.nodes) == 0 {
				return anyOf(readyOf(nodes))
			}
			p := anyOf(append(old.nodes[:0:0], readyOf(nodes)...))
			old.nodes[0], old.nodes[len(old.nodes)-1] = old.nodes[len(old.nodes)-1], old.nodes[0]
			return p
		}),
	}
}

// racing is round robin without an atomic counter.
type racing struct {
	nodes []*balancer.Node
	turn  int
}

func newRacing(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return &racing{nodes: readyOf(nodes), turn: rand.IntN(100)}
}

func (p *racing) Pick(info *balancer.Info) balancer.Choice {
	p.turn++
	return choose(p.nodes, func(n int) int { return p.turn % n }, info)
}

// unpromised are the rules that do not apply to a policy without promises.
func unpromised() []string {
	rules := []string{"even", "weighted", "sticky", "consistent"}
	if policytest.RaceEnabled {
		rules = append(rules, "allocations")
	}
	return rules
}

func TestRun(t *testing.T) {
	if name := os.Getenv(subjectOfRun); name != "" {
		policytest.Run(t, runSubjects()[name])
		return
	}
	for _, tt := range []struct {
		subject string
		race    bool     // only the race detector finds it
		says    []string // nothing where all is well
	}{
		{subject: "sound"},
		{subject: "unready", says: []string{"--- FAIL: TestRun/ready", "Pick returns a ready node while there is one.", `which is not ready, while another node is`}},
		{subject: "leaving goroutines", says: []string{"--- FAIL: TestRun/members", "goroutines were left behind"}},
		{subject: "racing", race: true, says: []string{"--- FAIL: TestRun/concurrent", "DATA RACE"}},
		{subject: "racing over prev", race: true, says: []string{"--- FAIL: TestRun/concurrent", "DATA RACE"}},
	} {
		t.Run(tt.subject, func(t *testing.T) {
			if tt.race && !policytest.RaceEnabled {
				return
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestRun$", "-test.v")
			cmd.Env = append(os.Environ(), subjectOfRun+"="+tt.subject)
			out, err := cmd.CombinedOutput()
			if failed := err != nil; failed != (tt.says != nil) {
				t.Fatalf("the process ended with %v:\n%s", err, out)
			}
			for _, want := range tt.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			for _, rule := range policytest.Rules() {
				ran := strings.Contains(string(out), ": TestRun/"+rule+" (")
				if due := !slices.Contains(unpromised(), rule); ran != due {
					t.Errorf("the rule %q was run: %v, want %v", rule, ran, due)
				}
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	type policy struct {
		name   string
		policy func() balancer.Policy
		broken bool
	}
	tests := []policy{
		{"the ready nodes, in each pick", building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return pickFunc(func(info *balancer.Info) balancer.Choice { return anyOf(readyOf(nodes)).Pick(info) })
		}), true},
		{"only for a call that avoids somebody", picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if info.Avoids(ready[0]) {
				ready = append([]*balancer.Node{}, ready[1:]...)
			}
			return choose(ready, func(int) int { return 0 }, info)
		}), true},
		{"only for a call with a key", picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			key := strings.Repeat(keyOf(info), 20)
			return choose(ready, func(n int) int { return int(steady(key) % uint64(n)) }, info)
		}), true},
	}
	for _, o := range ours() {
		tests = append(tests, policy{o.policy().Name(), o.policy, false})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := policytest.BreaksRule(t, "allocations", tt.policy)
			if want := tt.broken && !policytest.RaceEnabled; (err != nil) != want {
				t.Errorf("error is %v, want one: %v", err, want)
			}
		})
	}
}

func TestWrongUse(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   func() balancer.Policy
		promises []policytest.Promise
		says     string // empty: nothing is wrong
	}{
		{"none", balancer.P2C, []policytest.Promise{policytest.Weighted(), policytest.Sticky(1)}, ""},
		{"no function", nil, nil, "policy is nil"},
		{"no policy", func() balancer.Policy { return nil }, nil, "returns nil"},
		{"both", balancer.P2C, []policytest.Promise{policytest.Even(), policytest.Weighted()}, "Even and Weighted"},
		{"less than nothing", balancer.P2C, []policytest.Promise{policytest.Sticky(-0.1)}, "Sticky(-0.1), want a share from 0 to 1"},
		{"percent", balancer.P2C, []policytest.Promise{policytest.Sticky(5)}, "Sticky(5), want a share from 0 to 1"},
		{"no number", balancer.P2C, []policytest.Promise{policytest.Sticky(math.NaN())}, "Sticky(NaN)"},
		{"no key", balancer.P2C, []policytest.Promise{policytest.KeyedBy(nil)}, "KeyedBy(nil)"},
		{"a key", balancer.P2C, []policytest.Promise{policytest.KeyedBy(func(ctx context.Context, _ string) context.Context { return ctx })}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switch err := policytest.Check(tt.policy, tt.promises...); {
			case tt.says == "" && err != nil:
				t.Errorf("error is %v, want none", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestChiSquaredTail(t *testing.T) {
	// From tables of the distribution: what is exceeded with a probability of 1e-6.
	for freedom, x := range map[int]float64{1: 23.928, 2: 27.631, 3: 30.665, 10: 46.863} {
		if got := policytest.ChiSquaredTail(x, freedom); math.Abs(got-1e-6) > 0.01e-6 {
			t.Errorf("chiSquaredTail(%v, %d) = %v, want 1e-6", x, freedom, got)
		}
	}
}
