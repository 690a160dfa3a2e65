package consultest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// servers is how many a Cluster has: it lives on when one is gone, and has no
// quorum when two are.
const servers = 3

// Cluster is three servers and a client agent, all of which keep their state
// on disk. Each can be stopped, killed, paused, started again and wiped by its
// own methods. Its methods are for the test's goroutine.
type Cluster struct {
	Servers []*Agent

	// Agent is the client agent, the one that a service's host has.
	Agent *Agent

	t testing.TB
}

// StartCluster starts a cluster and returns when all of its agents know the
// leader. All are killed when the test ends. The options are for each agent.
func StartCluster(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range servers {
		c.Servers = append(c.Servers, newAgent(t, &Agent{name: fmt.Sprintf("server-%d", i+1)}, options))
	}
	c.Agent = newAgent(t, &Agent{name: "consultest", client: true}, options)
	var err error
	for range 3 { // somebody may take a port between its choice and its use
		if err = c.start(); err == nil {
			return c
		}
		for _, a := range c.all() {
			a.Wipe()
		}
	}
	t.Fatalf("consultest: %v", err)
	return nil
}

// Leader waits until the running servers agree on a leader among them, and
// returns it.
func (c *Cluster) Leader() *Agent {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var leader *Agent
		if leader, err = c.leader(); err == nil {
			return leader
		}
	}
	c.t.Fatalf("consultest: no leader within %v: %v", readyWithin, err)
	return nil
}

// Followers are the running servers but the leader.
func (c *Cluster) Followers() []*Agent {
	c.t.Helper()
	leader := c.Leader()
	return slices.DeleteFunc(slices.Clone(c.Servers), func(a *Agent) bool { return a == leader || !a.Running() })
}

func (c *Cluster) leader() (*Agent, error) {
	var found *Agent
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		addr, err := s.Client.Status().Leader()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(c.Servers, func(a *Agent) bool { return a.Running() && loopback(a.ports.server) == addr })
		if i < 0 || found != nil && found != c.Servers[i] {
			return nil, fmt.Errorf("%s takes %q for the leader", s.name, addr)
		}
		found = c.Servers[i]
	}
	if found == nil {
		return nil, errors.New("no server runs")
	}
	return found, nil
}

func (c *Cluster) all() []*Agent { return append(slices.Clone(c.Servers), c.Agent) }

func (c *Cluster) start() error {
	free, err := freePorts(servers + 1)
	if err != nil {
		return err
	}
	var joins []string
	for _, p := range free[:servers] {
		joins = append(joins, "-retry-join="+loopback(p.serf))
	}
	join := strings.Join(joins, " ")
	for i, a := range c.all() {
		a.settle(free[i])
		a.mode = append(strings.Fields(join), "-retry-interval=1s", "-data-dir", a.data())
		if !a.client {
			a.mode = append(a.mode, "-server", fmt.Sprintf("-bootstrap-expect=%d", servers))
		}
		a.configs = append(slices.DeleteFunc(a.configs, func(s string) bool { return s == steady }), steady)
		if err := a.begin(); err != nil {
			return err
		}
	}
	for _, a := range c.all() {
		if err := a.awaitReady(); err != nil {
			return err
		}
	}
	return nil
}
