package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync/atomic"

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
			return &turner{turn: turn, where: func() (string, error) { return picked(b) }, stop: b.Close}, nil
		}})
	}
	return all
}

// oursFlipped changes gates' minds and waits until the pickers know. Policies that
// make tables are left out: theirs are made once a second.
func oursFlipped() []updater {
	var all []updater
	for _, p := range policies()[:4] {
		all = append(all, updater{name: "fairlead " + p.name, start: func(from, _ []string) (*turner, error) {
			g, err := newFlock(p, from)
			if err != nil {
				return nil, err
			}
			return &turner{turn: g.turn, where: func() (string, error) { return picked(g.members[0].Balancer) }, stop: g.close, work: g.work}, nil
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
			return &turner{turn: turn, where: where, stop: g.Close}, nil
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
