package grpcbalancer_test

import (
	"testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
	"github.com/fairlead-go/fairlead/retry"
)

func consulMesh(t *testing.T, addr string, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	resolver, err := consul.New(consul.Config{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	return newMesh(t, resolver, opts...)
}

// TestRollingRestart restarts five server processes that register themselves,
// one after the other, under 20 callers and long streams. No error reaches a
// caller: not of a call that may be sent again where the servers are killed, and
// of no call at all where they leave properly. A stream ends with its own server
// and no other.
func TestRollingRestart(t *testing.T) {
	for _, test := range []struct {
		name    string
		methods []string
		end     func(*process, *testing.T)
		addr    func(*process) string // of the successor
		allow   func(error) bool      // of a stream's end
	}{
		{
			name:    "leaving properly",
			methods: []string{reads, writes},
			end:     (*process).terminate,
			addr:    func(*process) string { return anyAddr },
			allow:   cleanly,
		},
		{
			name:    "killed",
			methods: []string{reads},
			end:     func(p *process, _ *testing.T) { p.kill() },
			addr:    func(p *process) string { return p.addr },
			allow:   brokenOff,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			const endpoints, callers = 5, 20
			agent := consultest.Start(t)
			processes := startRegistered(t, agent, endpoints)
			// Policies that count calls in flight would keep the callers off a server
			// that has many streams.
			mesh := consulMesh(t, agent.Addr, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithRetry(onlyReads(retry.Config{})))
			conn := dial(t, mesh, "fairlead:///users")
			load := startLoad(t, conn, callers, test.methods...)
			streams := startStreams(t, conn, processes)
			left := make(map[string]bool)
			for i, p := range processes {
				load.awaitAnswers(p.id)
				othersLast := streams.mustLast(p)
				left[p.id] = true
				test.end(p, t)
				next := startProcess(t, test.addr(p), registered(agent, i)...)
				load.awaitAnswers(next.id)
				othersLast()
				processes[i] = next
				streams.reach(processes)
			}
			load.mustEnd()
			streams.mustHaveEnded(left, test.allow)
		})
	}
}
