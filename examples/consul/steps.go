package main

import (
	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
)

// step is a change, and how the callers come to know of it.
type step struct {
	what   string
	server *server
	change func() error
	sights []sight
}

// sight is what the Mesh knows of the step's server at some time after the
// change. It is the state that the next call goes by.
type sight struct {
	what  string
	holds func(e fairlead.EndpointStatus, member bool) bool
}

func steps(f *fleet) []step {
	one, two, three := f.servers[0], f.servers[1], f.servers[2]
	called := sight{"called", func(e fairlead.EndpointStatus, member bool) bool {
		return member && e.State == balancer.Ready && e.Picks > 0
	}}
	gone := sight{"out of the set", func(_ fairlead.EndpointStatus, member bool) bool { return !member }}
	off := sight{"kept off", func(e fairlead.EndpointStatus, member bool) bool { return !member || e.State != balancer.Ready }}
	state := func(s balancer.State) func(fairlead.EndpointStatus, bool) bool {
		return func(e fairlead.EndpointStatus, member bool) bool { return member && e.State == s }
	}
	weighs := func(w int) func(fairlead.EndpointStatus, bool) bool {
		return func(e fairlead.EndpointStatus, member bool) bool { return member && e.Weight == w }
	}
	return []step{
		{"registered", three, func() error { return f.register(three, 1) }, []sight{called}},
		{"weight 1 to 4", three, func() error { return f.register(three, 4) }, []sight{{"weighs 4", weighs(4)}}},
		{"to maintenance", two, func() error { return f.agent.EnableServiceMaintenance(two.id, "example") },
			[]sight{{"draining", state(balancer.Draining)}}},
		{"end of maintenance", two, func() error { return f.agent.DisableServiceMaintenance(two.id) },
			[]sight{{"ready", state(balancer.Ready)}}},
		{"killed (SIGKILL)", one, func() error { one.kill(); return nil },
			// The breaker learns it from calls, Consul from its check within a second.
			[]sight{off, gone}},
		{"revived", one, one.start, []sight{called}},
		{"deregistered", three, func() error { return f.agent.ServiceDeregister(three.id) }, []sight{gone}},
	}
}
