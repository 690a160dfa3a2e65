package main

import (
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// gated is a Balancer whose nodes have a gate each, and which says when it has built.
type gated struct {
	*balancer.Balancer
	gates map[string]*gate // by address
	built chan struct{}
}

func newGated(policy balancer.Policy) *gated {
	g := &gated{gates: make(map[string]*gate), built: make(chan struct{}, 1)}
	g.Balancer = balancer.New(balancer.Config{Policy: policy, Join: g.join})
	return g
}

func (g *gated) join(n *balancer.Node) (any, []balancer.Gate) {
	own := &gate{}
	g.gates[n.Addr()] = own
	return nil, []balancer.Gate{own}
}

// update makes endpoints the members, for the first time.
func (g *gated) update(endpoints []discovery.Endpoint) error {
	if err := g.Update(endpoints); err != nil {
		g.Close()
		return err
	}
	g.Follow(func() {
		select {
		case g.built <- struct{}{}:
		default:
		}
	})
	return nil
}

func (g *gated) flip(addr string, refuse bool) {
	state := balancer.Admitting
	if refuse {
		state = balancer.Refusing
	}
	g.gates[addr].set(state)
}

// await waits until what was built knows that a gate refuses, or that none does.
func (g *gated) await(refuse bool) error {
	for deadline := time.NewTimer(patience); ; {
		ready, total := g.Ready()
		if refuse == (ready < total) {
			deadline.Stop()
			return nil
		}
		select {
		case <-g.built:
		case <-deadline.C:
			return fmt.Errorf("%d of %d nodes are ready, %v after one changed", ready, total, patience)
		}
	}
}
