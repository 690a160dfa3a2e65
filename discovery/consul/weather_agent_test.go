package consul_test

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestAbsentAgent begins a watch while no agent runs: an error at once, at
// most 20 queries in 5 s, and the set within 2 s after the agent is ready. The
// agent has no leader for its first second or so, and knows nothing then.
func TestAbsentAgent(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.WithState())
	enlist(t, agent, "u1", 80)
	agent.Kill()
	began := time.Now()
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	if e := f.next("error"); e.err == nil || e.Unknown || time.Since(began) > time.Second {
		t.Fatalf("got %+v, %v after %v, want an error at once", e.Snapshot, e.err, time.Since(began))
	}
	if n := f.calm(5 * time.Second); n < 2 || n > 20 {
		t.Errorf("%d queries in 5 s, want 2 to 20", n)
	} else {
		t.Logf("%d queries in 5 s", n)
	}
	agent.Restart()
	f.right(soon, "10.0.0.1:80")
}

// TestKilledAgent kills an agent that keeps its state: errors, and within 2 s
// after it is ready again it is followed.
func TestKilledAgent(t *testing.T) { onBothStates(t, testKilledAgent) }

func testKilledAgent(t *testing.T, agent *consultest.Agent) {
	enlist(t, agent, "u1", 80)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.right(soon, "10.0.0.1:80")
	agent.Kill()
	f.calm(3 * time.Second)
	agent.Restart()
	enlist(t, agent, "u2", 81)
	f.right(soon, "10.0.0.1:80", "10.0.0.1:81")
	strike(t, agent, "u1")
	f.right(soon, "10.0.0.1:81")
}

// TestAgentComesBackEmpty kills an agent that keeps nothing: its empty answers are
// errors for 30 s, and within 2 s after the instances have registered again
// they are the set.
func TestAgentComesBackEmpty(t *testing.T) {
	onBothBackends(t, func(t *testing.T, agent *consultest.Agent) {
		for i := range 20 { // so that the new agent's indexes stay below
			enlist(t, agent, "u1", 80+i)
		}
		f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
		f.right(soon, "10.0.0.1:99")
		agent.Restart()
		if n := f.calm(4 * time.Second); n == 0 {
			t.Error("no error tells that the registry lost its state")
		}
		enlist(t, agent, "u1", 7)
		f.right(soon, "10.0.0.1:7")
		strike(t, agent, "u1")
		f.right(soon)
	})
}

// TestPausedAgent stops an agent's clock: nothing but errors, and within 2 s
// after it runs again it is followed. A short Timeout sees the pause, the
// default one of 15 s does not.
func TestPausedAgent(t *testing.T) {
	for _, test := range []struct {
		name   string
		config consul.Config
		pause  time.Duration
	}{
		{"not noticed", consul.Config{}, 2 * time.Second},
		{"noticed", consul.Config{Wait: time.Second, Timeout: time.Second}, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := consultest.Start(t)
			enlist(t, agent, "u1", 80)
			test.config.Address = agent.Addr
			f := follow(t, newResolver(t, test.config), "users")
			f.right(soon, "10.0.0.1:80")
			agent.Pause()
			f.calm(test.pause)
			agent.Resume()
			enlist(t, agent, "u2", 81)
			f.right(soon, "10.0.0.1:80", "10.0.0.1:81")
		})
	}
}

// TestPausedAgentRefreshed stops an agent's clock while a query waits for long
// and calls fail: Refresh brings errors, and within 2 s after the agent runs
// again the set is known to be right, long before the waiting query returns.
func TestPausedAgentRefreshed(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	enlist(t, agent, "u1", 80)
	resolver := newResolver(t, consul.Config{Address: agent.Addr, Timeout: time.Second})
	f := follow(t, resolver, "users")
	f.right(soon, "10.0.0.1:80")
	f.quiet(1200 * time.Millisecond)
	agent.Pause()
	resolver.Refresh("users")
	if n := f.calm(3 * time.Second); n == 0 {
		t.Error("no error tells that the agent does not answer")
	}
	agent.Resume()
	f.right(soon, "10.0.0.1:80")
}
