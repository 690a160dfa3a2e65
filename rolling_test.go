package fairlead_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestRollingRestart restarts five server processes that register themselves,
// one after the other, under 50 callers. No error reaches a caller: not of a GET
// where the servers are killed, and of no call at all where they leave properly.
func TestRollingRestart(t *testing.T) {
	for _, test := range []struct {
		name    string
		methods []string
		end     func(*testing.T, *process)
		addr    func(*process) string // of the successor
		policy  balancer.Policy
	}{
		{
			name:    "leaving properly",
			methods: []string{http.MethodGet, http.MethodPost},
			end: func(t *testing.T, p *process) {
				if err := p.terminate(); err != nil {
					t.Errorf("a server that was told to leave: %v", err)
				}
			},
			addr:   func(*process) string { return "127.0.0.1:0" },
			policy: balancer.P2C(),
		},
		{
			name:    "killed",
			methods: []string{http.MethodGet},
			end:     func(_ *testing.T, p *process) { p.kill() },
			addr:    func(p *process) string { return p.addr },
			policy:  balancer.RoundRobin(),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := consultest.Start(t)
			mesh := consulMesh(t, agent, fairlead.WithBalancer(test.policy))
			const endpoints, callers = 5, 50
			processes := startRegistered(t, agent, endpoints)
			load := startLoad(t, mesh, callers, test.methods...)
			for i, p := range processes {
				load.awaitAnswers(p.addr)
				test.end(t, p)
				next := startProcess(t, test.addr(p), registered(agent, i)...)
				load.awaitAnswers(next.addr)
				processes[i] = next
			}
			calls, failed := load.end()
			t.Logf("%d calls by %d callers over %d restarts, %d errors", calls, callers, endpoints, len(failed))
			if len(failed) > 0 {
				t.Errorf("%d of %d calls failed, want none; the first: %v", len(failed), calls, failed[0])
			}
		})
	}
}

// startRegistered starts server processes that register themselves.
func startRegistered(t *testing.T, agent *consultest.Agent, n int) []*process {
	t.Helper()
	processes := make([]*process, n)
	for i := range processes {
		processes[i] = startProcess(t, "127.0.0.1:0", registered(agent, i)...)
	}
	return processes
}

// registered is the environment of the server process number i.
func registered(agent *consultest.Agent, i int) []string {
	return []string{registerWith + "=" + agent.Addr, registerAs + "=users-" + strconv.Itoa(i)}
}

// TestSilentServersLeave kills a server process that nobody replaces: its
// heartbeat ends, and it leaves the set.
func TestSilentServersLeave(t *testing.T) {
	agent := consultest.Start(t)
	mesh := consulMesh(t, agent)
	processes := startRegistered(t, agent, 2)
	load := startLoad(t, mesh, 4, http.MethodGet)
	for _, p := range processes {
		load.awaitAnswers(p.addr)
	}
	processes[0].kill()
	eventually(t, "the killed server is out of the set", func() bool {
		_, member := endpoint(mesh, processes[0].addr)
		return !member
	})
	load.awaitAnswers(processes[1].addr)
	if calls, failed := load.end(); len(failed) > 0 {
		t.Errorf("%d of %d calls failed, want none; the first: %v", len(failed), calls, failed[0])
	}
}

// TestAgentRestartGoesUnnoticed kills the agent, which comes back with nothing:
// the servers register again, and no error reaches a caller.
func TestAgentRestartGoesUnnoticed(t *testing.T) {
	agent := consultest.Start(t)
	mesh := consulMesh(t, agent)
	processes := startRegistered(t, agent, 5)
	load := startLoad(t, mesh, 20, http.MethodGet, http.MethodPost)
	for _, p := range processes {
		load.awaitAnswers(p.addr)
	}
	agent.Kill()
	for _, p := range processes {
		load.awaitAnswers(p.addr) // what was known goes on
	}
	agent.Restart()
	eventually(t, "all servers are registered again", func() bool {
		services, err := agent.Client.Agent().Services()
		return err == nil && len(services) == len(processes)
	})
	for _, p := range processes {
		load.awaitAnswers(p.addr)
	}
	calls, failed := load.end()
	t.Logf("%d calls, %d errors", calls, len(failed))
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed, want none; the first: %v", len(failed), calls, failed[0])
	}
}
