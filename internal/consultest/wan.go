package consultest

import (
	"time"

	"github.com/hashicorp/consul/api"
)

// WithDatacenter names the agent's datacenter and opens it to others: see
// [Agent.JoinWAN].
func WithDatacenter(name string) Option {
	return func(a *Agent) {
		a.wan = true
		a.configs = append(a.configs, `datacenter = "`+name+`"`)
	}
}

// JoinWAN makes known to the agent, and to the other one, that the other's
// datacenter exists. It returns when queries get there. Both need
// [WithDatacenter].
func (a *Agent) JoinWAN(other *Agent, datacenter string) {
	a.t.Helper()
	if err := a.Client.Agent().Join(loopback(other.ports.wan), true); err != nil {
		a.t.Fatalf("consultest: joining %s: %v", datacenter, err)
	}
	a.AwaitDatacenter(datacenter)
}

// AwaitDatacenter returns when queries for a datacenter are answered.
func (a *Agent) AwaitDatacenter(name string) {
	a.t.Helper()
	var err error
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, _, err = a.Client.Catalog().Nodes(&api.QueryOptions{Datacenter: name}); err == nil {
			return
		}
	}
	a.t.Fatalf("consultest: no way to %s: %v", name, err)
}
