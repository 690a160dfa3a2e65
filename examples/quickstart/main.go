// Quickstart calls five HTTP servers of different speed by every policy, kills
// one of them in the middle, revives it, and shows who was called and when.
// It needs nothing but Go.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func run(w io.Writer, cfg config) error {
	fleet, err := startFleet(cfg.servers)
	if err != nil {
		return err
	}
	defer fleet.close()

	// Who exists: here a registry in the process, elsewhere consul.New.
	registry := discovery.NewRegistry()
	if err := fleet.register(registry); err != nil {
		return err
	}

	// Who is called, and what is told of it. Breakers and retries need no option.
	journal, attempts := &journal{}, newAttempts()
	options := []fairlead.Option{
		fairlead.WithTimeout(2 * time.Second),
		fairlead.WithLogger(slog.New(journal)),
	}
	for _, s := range services {
		options = append(options, fairlead.ForService(s.name(),
			fairlead.WithBalancer(s.policy),
			fairlead.WithAttemptMiddleware(attempts.of(s.name()))))
	}
	mesh, err := fairlead.New(registry, options...)
	if err != nil {
		return err
	}
	defer mesh.Close()

	// From here on it is an http.Client: client.Get("http://round_robin/hello").
	load := startLoad(mesh.Client(), cfg)
	outage, err := play(w, mesh, fleet.victim(), cfg)
	calls := load.end()
	if err != nil {
		return err
	}
	return report{w, fleet, outage, calls, journal, attempts}.print()
}

// services is what is called: each has a policy of its own, so that one Mesh
// can show them all, and each is served by the same five servers.
var services = []service{
	{policy: balancer.RoundRobin()},
	{policy: balancer.WeightedRoundRobin(), weighted: true},
	{policy: balancer.LeastConn()},
	{policy: balancer.IPHash(), sticky: true},
	{policy: balancer.Random()},
	{policy: balancer.P2C()}, // the default: it needs no WithBalancer
}

// service is a name that is called, and the policy by which it is.
type service struct {
	policy   balancer.Policy
	weighted bool // its endpoints are registered with their servers' weights
	sticky   bool // a user's calls stay with one server
}

func (s service) name() string { return s.policy.Name() }

// register makes the servers known under the names of all services.
func (f fleet) register(registry discovery.Registrar) error {
	for _, service := range services {
		for _, s := range f {
			e := discovery.Endpoint{ID: s.id, Addr: s.addr}
			if service.weighted {
				e.Weight = s.weight
			}
			if _, err := registry.Register(context.Background(), service.name(), e); err != nil {
				return err
			}
		}
	}
	return nil
}

// config is how much is done.
type config struct {
	servers []spec
	callers int           // of each service
	pause   time.Duration // of a caller between two calls, on average
	users   int           // addresses on behalf of which calls are made
	before  time.Duration // the kill
	down    time.Duration
	after   time.Duration // the last service called the revived server again
}

func defaults() config {
	const ms = time.Millisecond
	return config{
		servers: []spec{{1 * ms, 8}, {2 * ms, 4}, {3 * ms, 3}, {5 * ms, 2}, {8 * ms, 1}},
		callers: 24,
		pause:   20 * ms,
		users:   100,
		before:  2 * time.Second,
		down:    2 * time.Second, // longer than the first open period, so that a check of the dead server is seen
		after:   2 * time.Second,
	}
}

func main() {
	if err := run(os.Stdout, defaults()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}
