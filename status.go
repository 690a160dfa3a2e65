package fairlead

import (
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

// Status is what a Mesh knows at one moment, as plain data: print it, or serve
// it as JSON.
type Status struct {
	// Services are those watched now, ordered by name.
	Services []ServiceStatus `json:"services"`

	// Closed says that no new calls are taken.
	Closed bool `json:"closed,omitempty"`
}

// ServiceStatus is one service in a [Status].
type ServiceStatus struct {
	// Name is the service's, as it is watched: in lower case.
	Name string `json:"name"`

	// Policy is the name of what picks its endpoints.
	Policy string `json:"policy"`

	// Resolved says that the resolver has said who serves the name.
	Resolved bool `json:"resolved"`

	// SnapshotAt is when it last did.
	SnapshotAt time.Time `json:"snapshot_at,omitzero"`

	// Held says that the resolver's last answer was empty and is not believed yet.
	Held bool `json:"held,omitempty"`

	// ResolverError is the resolver's last word where that was an error.
	ResolverError string `json:"resolver_error,omitempty"`

	// Panic says that so few endpoints are well by health that health is ignored.
	Panic bool `json:"panic,omitempty"`

	// InFlight is the number of calls, those waiting for an endpoint included.
	InFlight int `json:"in_flight"`

	// Waiting is how many calls and streams wait for room; 0 without WithLimit.
	Waiting int `json:"waiting,omitempty"`

	// RetryBudget is how many retries there could be now, 5 where there is no budget.
	RetryBudget float64 `json:"retry_budget"`

	// Endpoints are ordered by ID.
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is one endpoint in a [ServiceStatus].
type EndpointStatus struct {
	// ID, Addr, Weight, Region and Zone are what discovery says.
	ID     string `json:"id"`
	Addr   string `json:"addr"`
	Weight int    `json:"weight"`
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`

	// State is "ready", "draining", "open", "half-open", "unhealthy", "ejected" or
	// "cooling".
	State balancer.State `json:"state"`

	// Breaker is "closed", "open", "half-open", or empty without breakers.
	Breaker string `json:"breaker,omitempty"`

	// InFlight is the number of attempts whose answer has not ended.
	InFlight int `json:"in_flight"`

	// Picks is how often the endpoint was picked since it joined, modulo 2³².
	Picks uint32 `json:"picks"`
}

// Status returns what the Mesh knows now. It does not block.
func (m *Mesh) Status() Status {
	st := Status{Services: []ServiceStatus{}, Closed: m.closing.Load()}
	for _, s := range m.all() {
		st.Services = append(st.Services, s.status())
	}
	return st
}

func (s *service) status() ServiceStatus {
	st := ServiceStatus{
		Name:        s.name,
		Policy:      s.balancer.Policy().Name(),
		Resolved:    s.resolved.Load(),
		Panic:       s.balancer.Panicking(),
		InFlight:    int(max(s.refs.Load()-s.holds.Load(), 0)),
		RetryBudget: s.retry.BudgetLeft(),
		Endpoints:   []EndpointStatus{},
	}
	if s.limiter != nil {
		st.Waiting = s.limiter.Waiting()
	}
	s.mu.Lock()
	st.SnapshotAt = s.snapshot
	st.Held = s.held != nil
	if s.lastErr != nil {
		st.ResolverError = s.lastErr.Error()
	}
	s.mu.Unlock()
	for _, n := range s.balancer.Nodes() {
		st.Endpoints = append(st.Endpoints, endpointStatus(n))
	}
	return st
}

func endpointStatus(n *balancer.Node) EndpointStatus {
	e := n.Endpoint()
	st := EndpointStatus{
		ID:       n.ID(),
		Addr:     n.Addr(),
		Weight:   n.Weight(),
		Region:   e.Region,
		Zone:     e.Zone,
		State:    n.State(),
		InFlight: n.InFlight(),
		Picks:    n.Picks(),
	}
	if b := linkOf(n).breaker; b != nil {
		st.Breaker = b.State().String()
	}
	return st
}

// observe is the status as the metrics' gauges read it.
func (m *Mesh) observe() []tracing.ServiceState {
	status := m.Status()
	states := make([]tracing.ServiceState, 0, len(status.Services))
	for _, s := range status.Services {
		state := tracing.ServiceState{Service: s.Name, Budget: s.RetryBudget, SnapshotAge: -1}
		if !s.SnapshotAt.IsZero() {
			state.SnapshotAge = time.Since(s.SnapshotAt)
		}
		for _, e := range s.Endpoints {
			b := e.Breaker
			if b == "" {
				b = "off"
			}
			state.Endpoints = append(state.Endpoints, tracing.EndpointState{Endpoint: e.ID, State: string(e.State), Breaker: b})
		}
		states = append(states, state)
	}
	return states
}
