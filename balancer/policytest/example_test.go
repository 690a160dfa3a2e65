package policytest_test

import (
	"sync/atomic"
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/policytest"
)

// turns is a policy of one's own: one ready node after the other.
type turns struct{}

func newTurns() balancer.Policy { return turns{} }

func (turns) Name() string { return "turns" }

func (turns) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	p := &turnsPicker{}
	for _, n := range nodes {
		if n.Ready() {
			p.ready = append(p.ready, n)
		}
	}
	return p
}

type turnsPicker struct {
	ready []*balancer.Node
	turn  atomic.Uint64
}

func (p *turnsPicker) Pick(info *balancer.Info) balancer.Choice {
	first := p.turn.Add(1) // one turn per pick: others take theirs meanwhile
	for i := range uint64(len(p.ready)) {
		if n := p.ready[(first+i)%uint64(len(p.ready))]; !info.Avoids(n) {
			return balancer.Choice{Node: n, Reason: "its turn"}
		}
	}
	return balancer.Choice{}
}

func ExampleRun() {
	// The test of this policy, func TestTurns(t *testing.T).
	_ = func(t *testing.T) {
		policytest.Run(t, newTurns, policytest.Even())
	}
}
