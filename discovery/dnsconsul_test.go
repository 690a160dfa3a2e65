package discovery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestDNSOfConsul asks the name server of a real Consul agent. It names its SRV
// targets by address (0a000001.addr.dc1.consul), which only itself can look up.
func TestDNSOfConsul(t *testing.T) {
	agent := consultest.Start(t, consultest.WithDNS())
	register := func(id, address string, port, weight int) {
		t.Helper()
		err := agent.Client.Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: id, Name: "users", Address: address, Port: port, Weights: &api.AgentWeights{Passing: weight, Warning: 1},
			Check: &api.AgentServiceCheck{CheckID: "check:" + id, TTL: "10m", Status: api.HealthPassing},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := discovery.DNS(discovery.DNSConfig{
		Name: "{}.service.consul", SRV: true, Resolver: resolverAt(agent.DNS), Interval: 100 * time.Millisecond, Timeout: 2 * time.Second,
	})
	f := followDNS(t, r, "users")
	if e := f.settled("unknown"); !e.Unknown {
		t.Fatalf("got %+v, want Unknown", e.Snapshot)
	}
	register("u1", "10.0.0.1", 80, 5)
	e := f.wants("10.0.0.1:80")
	t.Logf("%+v", e.Endpoints)
	if w := e.Endpoints[0].Weight; w != 5 {
		t.Errorf("weight %d, want 5", w)
	}
	register("u2", "fd00::2", 81, 1)
	f.wants("10.0.0.1:80 [fd00::2]:81")
	if err := agent.Client.Agent().UpdateTTL("check:u1", "", api.HealthCritical); err != nil {
		t.Fatal(err)
	}
	f.wants("[fd00::2]:81")
	if err := agent.Client.Agent().ServiceDeregister("u2"); err != nil {
		t.Fatal(err)
	}
	f.wants("")
	register("u3", "10.0.0.3", 82, 1)
	f.wants("10.0.0.3:82")

	asked := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: resolverAt(agent.DNS)}), "users.service.consul:8080")
	asked.wants("10.0.0.3:8080")

	// Over UDP Consul leaves out what does not fit, and does not say so.
	for i := range 100 {
		register(fmt.Sprintf("many-%d", i), fmt.Sprintf("10.1.0.%d", i+1), 80, 1)
	}
	all := followDNS(t, discovery.DNS(discovery.DNSConfig{SRV: true, Resolver: overTCP(agent.DNS)}), "users.service.consul")
	if e := all.settled("all"); len(e.Endpoints) != 101 {
		t.Errorf("%d endpoints over TCP, want 101", len(e.Endpoints))
	}
}

func TestDNSOfPausedConsul(t *testing.T) {
	agent := consultest.Start(t, consultest.WithDNS())
	if err := agent.Client.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "users", Address: "10.0.0.1", Port: 80}); err != nil {
		t.Fatal(err)
	}
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		SRV: true, Resolver: resolverAt(agent.DNS), Interval: 100 * time.Millisecond, Timeout: time.Second,
	}), "users.service.consul")
	f.wants("10.0.0.1:80")
	agent.Pause()
	f.nextError()
	agent.Resume()
	if err := agent.Client.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "users", Address: "10.0.0.2", Port: 80}); err != nil {
		t.Fatal(err)
	}
	if e := f.settled("10.0.0.2:80"); e.addrs() == "10.0.0.1:80" {
		f.wants("10.0.0.2:80") // what was known was said once more, as the end of the error
	} else if e.addrs() != "10.0.0.2:80" {
		t.Errorf("got %q, want 10.0.0.2:80", e.addrs())
	}
}
