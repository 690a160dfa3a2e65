package consul_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// The weather tests put real agents into every state that one was seen in, and
// bound how long a watch may be wrong afterwards. In all of them a set that was
// known is never emptied by what failed, and a watch ends within a second,
// which follower.stop checks in whatever state the test leaves it.

// soon is the bound on what needs no waiting: a change of a healthy agent's,
// or the first look at one that has come back. The tests say 2 s; with the race
// detector, where agents of other tests have the processor, it is five times that.
const soon = 2 * time.Second * slowdown

// healed is the bound on what follows errors of the agent's own: the longest
// back-off comes first. The mean is a few seconds.
const healed = consul.BackoffMax + soon

// calm reads for a while and checks that nothing new comes, but errors may, and
// after them what is known. It returns how many errors did.
func (f *follower) calm(d time.Duration) (errors int) {
	f.t.Helper()
	for end := time.After(d); ; {
		select {
		case e := <-f.events:
			if f.read(e) {
				f.t.Errorf("got %+v, want at most errors: what is known must be kept", e.Snapshot)
			}
			if e.err != nil {
				errors++
			}
		case <-end:
			return errors
		}
	}
}

// right returns when the set is addrs, which must be so within d. It checks
// that it is neither empty nor unknown before.
func (f *follower) right(d time.Duration, addrs ...string) {
	f.t.Helper()
	began := time.Now()
	e := f.until(fmt.Sprintf("set of %v", addrs), func(e event) bool {
		if e.err == nil && len(e.Endpoints) == 0 && len(addrs) > 0 {
			f.t.Errorf("got %+v on the way to %v: what is known must be kept", e.Snapshot, addrs)
		}
		return e.has(addrs...)
	})
	took := max(0, e.at.Sub(began))
	if took > d {
		f.t.Errorf("the set is right after %v, want within %v", took, d)
	}
	f.t.Logf("the set is right after %v, of %v allowed", took.Round(time.Millisecond), d)
}

// enlist registers an instance of users with the catalog, on a node that no
// agent speaks for, so that it stands whatever becomes of the agent. It tries
// until there is a leader who takes it.
func enlist(t *testing.T, agent *consultest.Agent, id string, port int) {
	t.Helper()
	enlistAs(t, agent, "users", id, port)
}

func enlistAs(t *testing.T, agent *consultest.Agent, service, id string, port int) {
	t.Helper()
	write(t, func() error {
		_, err := agent.Client.Catalog().Register(&api.CatalogRegistration{
			Node: "elsewhere", Address: "10.0.0.9",
			Service: &api.AgentService{ID: id, Service: service, Address: "10.0.0.1", Port: port},
			Check:   &api.AgentCheck{CheckID: "check:" + id, ServiceID: id, Status: api.HealthPassing},
		}, nil)
		return err
	})
}

// strike takes an instance out of the catalog.
func strike(t *testing.T, agent *consultest.Agent, id string) {
	t.Helper()
	write(t, func() error {
		_, err := agent.Client.Catalog().Deregister(&api.CatalogDeregistration{Node: "elsewhere", ServiceID: id}, nil)
		return err
	})
}

// write tries until it works.
func write(t *testing.T, do func() error) {
	t.Helper()
	eventually(t, "leader that takes it", func() bool { return do() == nil })
}

// onBothStates is onBothBackends with servers that keep their state.
func onBothStates(t *testing.T, test func(*testing.T, *consultest.Agent)) {
	for name, config := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, consultest.Start(t, consultest.WithState(), consultest.WithConfig(config)))
		})
	}
}

// swift waits little, so that what costs a wait is over soon.
func swift(agent *consultest.Agent) consul.Config {
	return consul.Config{Address: agent.Addr, Wait: 2 * time.Second}
}
