package main

import (
	"errors"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/balancer"
)

// gate admits all or nothing.
type gate struct {
	state   atomic.Uint32
	changed func()
}

var errRefused = errors.New("the gate refuses")

var _ balancer.StatefulGate = (*gate)(nil)

func (g *gate) Allow() (any, error) {
	if g.State() != balancer.Admitting {
		return nil, errRefused
	}
	return nil, nil
}

func (g *gate) Done(any, balancer.Outcome) {}
func (g *gate) State() balancer.GateState  { return balancer.GateState(g.state.Load()) }
func (g *gate) Notify(changed func())      { g.changed = changed }

func (g *gate) set(s balancer.GateState) {
	g.state.Store(uint32(s))
	g.changed()
}
