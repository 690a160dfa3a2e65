package policytest_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/policytest"
)

type promising struct {
	policy   func() balancer.Policy
	promises []policytest.Promise
}

// ours are Fairlead's policies, with what their comments promise.
func ours() []promising {
	hash := func() balancer.Policy { return balancer.IPHash() }
	nginx := func() balancer.Policy { return balancer.IPHash(balancer.NginxHash) }
	weighted, consistent := policytest.Weighted(), policytest.Consistent()
	return []promising{
		{balancer.RoundRobin, []policytest.Promise{policytest.Even()}},
		{balancer.WeightedRoundRobin, []policytest.Promise{weighted}},
		{balancer.LeastConn, []policytest.Promise{weighted}},
		{balancer.Random, []policytest.Promise{weighted}},
		{balancer.P2C, []policytest.Promise{weighted}},
		{balancer.PeakEWMA, []policytest.Promise{weighted}},
		{hash, []policytest.Promise{weighted, policytest.Sticky(0.02), consistent}},
		{nginx, []policytest.Promise{weighted, policytest.Sticky(1), consistent}},
	}
}

// Every policy of Fairlead keeps the rules and what it promises.
func TestOurs(t *testing.T) {
	for _, tt := range ours() {
		t.Run(tt.policy().Name(), func(t *testing.T) {
			policytest.Run(t, tt.policy, tt.promises...)
		})
	}
}

// So does the policy of the example.
func TestTurns(t *testing.T) { policytest.Run(t, newTurns, policytest.Even()) }
