package consul_test

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestMistakes configures what Consul answers with 500: at most 20 queries in
// 5 s. A filter does not heal; a datacenter is there within 32 s after it has
// joined.
func TestMistakes(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.WithDatacenter("dc1"))
	enlist(t, agent, "u1", 80)
	other := consultest.Start(t, consultest.WithDatacenter("dc2"))
	enlist(t, other, "u2", 81)
	addr, requests := counter(t, agent)
	filter := follow(t, newResolver(t, consul.Config{Address: addr, Filter: "(("}), "users")
	inConfig := follow(t, newResolver(t, consul.Config{Address: addr, Datacenter: "dc2"}), "users")
	inName := follow(t, newResolver(t, consul.Config{Address: addr}), "users.service.dc2.consul")
	filter.calm(5 * time.Second)
	inConfig.calm(100 * time.Millisecond)
	inName.calm(100 * time.Millisecond)
	if n := requests.Load(); n < 6 || n > 60 {
		t.Errorf("%d queries by 3 watches in 5 s, want 2 to 20 each", n)
	} else {
		t.Logf("%d queries by 3 watches in 5 s", n)
	}
	agent.JoinWAN(other, "dc2")
	inConfig.right(healed, "10.0.0.1:81")
	inName.right(healed, "10.0.0.1:81")
	filter.calm(100 * time.Millisecond)
}

// TestSecondDatacenter cuts off the datacenter that a name asks for: its set is
// kept, and right within 32 s after it is back. The own one is not disturbed.
func TestSecondDatacenter(t *testing.T) {
	for name, config := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSecondDatacenter(t, config)
		})
	}
}

func testSecondDatacenter(t *testing.T, config string) {
	here := consultest.Start(t, consultest.WithDatacenter("dc1"), consultest.WithConfig(config))
	there := consultest.Start(t, consultest.WithDatacenter("dc2"), consultest.WithState())
	here.JoinWAN(there, "dc2")
	enlist(t, here, "u1", 80)
	enlist(t, there, "u2", 81)
	resolver := newResolver(t, swift(here))
	own, other := follow(t, resolver, "users"), follow(t, resolver, "users.service.dc2.consul")
	own.right(soon, "10.0.0.1:80")
	other.right(soon, "10.0.0.1:81")
	enlist(t, there, "u2", 82)
	other.right(soon, "10.0.0.1:82")
	there.Kill()
	other.calm(3 * time.Second)
	own.quiet(10 * time.Millisecond)
	enlist(t, here, "u1", 83)
	own.right(soon, "10.0.0.1:83")
	there.Restart()
	enlist(t, there, "u2", 84)
	here.AwaitDatacenter("dc2")
	other.right(healed, "10.0.0.1:84")
}
