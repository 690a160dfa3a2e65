package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// copied is the least that an update can cost.
var copied = updater{name: "a slice copied", start: func(from, _ []string) (*turner, error) {
	nodes := newSlots(len(from)).endpoints
	var published atomic.Pointer[[]*counted]
	return &turner{turn: func(bool) error {
		fresh := make([]*counted, len(nodes))
		copy(fresh, nodes)
		published.Store(&fresh)
		return nil
	}}, nil
}}

// named are our policies, with weights where they mean something.
type named struct {
	name   string
	policy balancer.Policy
	weight func(int) int
}

func policies() []named {
	return []named{
		{"P2C", balancer.P2C(), one},
		{"RoundRobin", balancer.RoundRobin(), one},
		{"PeakEWMA", balancer.PeakEWMA(), one},
		{"LeastConn", balancer.LeastConn(), one},
		{"WeightedRoundRobin", balancer.WeightedRoundRobin(), weight},
		{"IPHash", balancer.IPHash(), weight},
	}
}

func fleetOf(addrs []string, weight func(int) int) []discovery.Endpoint {
	fleet := make([]discovery.Endpoint, len(addrs))
	for i, addr := range addrs {
		fleet[i] = discovery.Endpoint{Addr: addr, Weight: weight(i)}
	}
	return fleet
}

// oursUpdated takes in a new set of endpoints, pickers included.
func oursUpdated() []updater {
	var all []updater
	for _, p := range policies() {
		all = append(all, updater{name: "fairlead " + p.name, start: func(from, to []string) (*turner, error) {
			b := balancer.New(balancer.Config{Policy: p.policy})
			old, fresh := fleetOf(from, p.weight), fleetOf(to, p.weight)
			turn := func(forth bool) error {
				if forth {
					return b.Update(fresh)
				}
				return b.Update(old)
			}
			if err := turn(false); err != nil {
				b.Close()
				return nil, err
			}
			return &turner{turn, func() (string, error) { return picked(b) }, b.Close}, nil
		}})
	}
	return all
}

// oursFlipped changes a gate's mind and waits until the pickers know. Policies that
// make tables have a line elsewhere: they are made once a second.
func oursFlipped() []updater {
	var all []updater
	for _, p := range policies()[:4] {
		all = append(all, updater{name: "fairlead " + p.name, start: func(from, _ []string) (*turner, error) {
			g := newGated(p.policy)
			if err := g.update(fleetOf(from, p.weight)); err != nil {
				return nil, err
			}
			flipped := from[len(from)/2]
			turn := func(forth bool) error { return g.flipAndWait(flipped, forth) }
			return &turner{turn, func() (string, error) { return picked(g.Balancer) }, g.Close}, nil
		}})
	}
	return all
}

// pickersMade changes a gate's mind and makes the picker that this calls for.
func pickersMade() []updater {
	var all []updater
	for _, p := range policies() {
		all = append(all, updater{name: "fairlead " + p.name, start: func(from, _ []string) (*turner, error) {
			g := newGated(p.policy)
			if err := g.update(fleetOf(from, p.weight)); err != nil {
				return nil, err
			}
			nodes, flipped := g.Nodes(), from[len(from)/2]
			picker := p.policy.NewPicker(nodes, nil)
			turn := func(forth bool) error {
				g.flip(flipped, forth)
				picker = p.policy.NewPicker(nodes, picker)
				return nil
			}
			where := func() (string, error) {
				n := picker.Pick(callerInfo()).Node
				if n == nil {
					return "", balancer.ErrNoEndpoints
				}
				return n.Addr(), nil
			}
			return &turner{turn, where, g.Close}, nil
		}})
	}
	return all
}

// callerInfo is a call of a user that no other call is of.
func callerInfo() *balancer.Info {
	key := strconv.FormatUint(rand.Uint64(), 16)
	return &balancer.Info{Context: balancer.WithHashKey(context.Background(), key)}
}

// picked picks once, of a call that ends at once.
func picked(b *balancer.Balancer) (string, error) {
	lease, err := b.Pick(callerInfo())
	if err != nil {
		return "", err
	}
	addr := lease.Node().Addr()
	lease.Report(balancer.Outcome{Verdict: balancer.Success})
	lease.Release()
	return addr, nil
}

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

// flipAndWait waits until what was built knows of the flip.
func (g *gated) flipAndWait(addr string, refuse bool) error {
	g.flip(addr, refuse)
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
