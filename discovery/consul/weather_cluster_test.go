package consul_test

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestCluster takes three servers and a client agent apart, step after step.
// Two watches follow: one through the client agent, which streams from whichever
// server it likes, and one through a server without streaming, which answers
// stale reads from what it has itself.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := consultest.StartCluster(t, consultest.OnServers(consultest.WithConfig(backends["blocking"])))
	enlist(t, cluster.Agent, "u1", 80)
	w := &clusterWatch{cluster: cluster, port: 80}
	server := cluster.Followers()[0]
	w.through(t, cluster.Agent, server)
	w.right(t, soon)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"change", func(t *testing.T) { w.change(t, soon) }},
		// Followed again within 4 s after the election: a back-off that began in
		// some seconds of errors may last for 3.2 s.
		{"leader killed", func(t *testing.T) {
			leader := cluster.Leader()
			leader.Kill()
			w.calm(t, time.Second)
			w.change(t, 2*soon)
			leader.Restart()
		}},
		// A server that comes back knows nothing until the leader has told it.
		{"server restarted", func(t *testing.T) {
			server.Begin()
			w.calm(t, 2*time.Second)
			server.AwaitReady()
			w.change(t, 2*soon)
		}},
		{"server wiped", func(t *testing.T) {
			server.Wipe()
			server.Begin()
			w.calm(t, 2*time.Second)
			server.AwaitReady()
			w.change(t, 2*soon)
		}},
		{"client agent restarted", func(t *testing.T) {
			cluster.Agent.Begin()
			w.calm(t, time.Second)
			cluster.Agent.AwaitReady()
			w.change(t, 2*soon)
		}},
		// A watch that begins now sees the set too: stale reads go on.
		{"quorum lost", func(t *testing.T) {
			for _, s := range cluster.Servers {
				if s != server {
					s.Kill()
				}
			}
			late := follow(t, newResolver(t, swift(server)), "users")
			w.calm(t, 10*time.Second)
			late.right(10*time.Second, w.addr())
			nobody := follow(t, newResolver(t, swift(server)), "nobody")
			nobody.calm(time.Second)
			for _, s := range cluster.Servers {
				if s != server {
					s.Begin()
				}
			}
			cluster.Leader()
			w.change(t, 2*soon)
			late.right(2*soon, w.addr())
		}},
		{"one by one", func(t *testing.T) {
			for _, s := range cluster.Servers {
				s.Begin()
				w.change(t, 2*soon)
				s.AwaitReady()
				cluster.Leader()
			}
			w.change(t, soon)
		}},
	} {
		began := time.Now()
		t.Logf("%s", step.name)
		step.do(t)
		t.Logf("%s took %v", step.name, time.Since(began))
		if t.Failed() {
			t.Fatalf("after %s", step.name)
		}
	}
}
