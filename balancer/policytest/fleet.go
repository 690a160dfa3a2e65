package policytest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// fleet is nodes whose readiness is in the suite's hand. They are those of a
// Balancer with a policy of its own: what the policy under test does wrong would
// be mended by the Balancer, so its pickers are asked directly.
//
// A fleet lives in a bubble, and so the Balancer builds nothing while a rule
// runs: readiness changes only when the rule says so.
type fleet struct {
	balancer  *balancer.Balancer
	endpoints []discovery.Endpoint
	nodes     []*balancer.Node // by ID
}

func newFleet(n int, weight func(i int) int) *fleet {
	f := &fleet{balancer: balancer.New(balancer.Config{Policy: balancer.RoundRobin(), Join: join})}
	for i := range n {
		f.endpoints = append(f.endpoints, discovery.Endpoint{
			ID:     fmt.Sprintf("e%05d", i),
			Addr:   fmt.Sprintf("10.%d.%d.%d:80", i>>16&255, i>>8&255, i&255),
			Weight: weight(i),
		})
	}
	f.update(f.endpoints)
	return f
}

func even(int) int     { return 1 }
func uneven(i int) int { return []int{1, 2, 3, 4, 5, 1, 2}[i%7] }

// update makes endpoints the whole fleet.
func (f *fleet) update(endpoints []discovery.Endpoint) {
	if err := f.balancer.Update(endpoints); err != nil {
		panic(err)
	}
	f.endpoints, f.nodes = endpoints, f.balancer.Nodes()
}

// settle waits, in the bubble's time, until the Balancer has seen all changes.
func (f *fleet) settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

func (f *fleet) close() { f.balancer.Close() }

// without returns the nodes but the i-th.
func (f *fleet) without(i int) []*balancer.Node {
	return append(append([]*balancer.Node{}, f.nodes[:i]...), f.nodes[i+1:]...)
}

// set changes what the node's gate says.
func set(n *balancer.Node, state balancer.GateState) { n.Data().(*gate).set(state) }

// call counts a call on n, as the Balancer does for every pick. The Lease is the
// zero one when the gate refuses.
func (f *fleet) call(n *balancer.Node) balancer.Lease {
	l, _ := f.balancer.Pick(&balancer.Info{Endpoint: n.ID()})
	return l
}

// join gives each node a gate.
func join(*balancer.Node) (any, []balancer.Gate) {
	g := &gate{}
	return g, []balancer.Gate{g}
}

// gate does what it is told.
type gate struct {
	state   atomic.Uint32
	changed func() // set once, before the node is a member
}

var _ balancer.StatefulGate = (*gate)(nil)

var errRefused = errors.New("policytest: the gate refuses")

func (g *gate) Allow() (any, error) {
	if g.State() != balancer.Admitting {
		return nil, errRefused
	}
	return nil, nil
}

func (g *gate) Done(any, balancer.Outcome) {}

func (g *gate) State() balancer.GateState { return balancer.GateState(g.state.Load()) }

func (g *gate) Notify(changed func()) { g.changed = changed }

func (g *gate) set(s balancer.GateState) {
	g.state.Store(uint32(s))
	g.changed()
}
