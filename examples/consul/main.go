// Consul calls a service whose servers, processes of their own, are registered
// with a real Consul agent. It registers, weighs, drains, kills, revives and
// deregisters them, and shows when each change reached the callers.
//
// The agent is the one that CONSUL_HTTP_ADDR names, else one of its own: the
// program that `make consul` builds.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/examples/internal/devagent"
)

func run(ctx context.Context, w io.Writer, cfg config) error {
	fleet, err := startFleet(cfg.address)
	if err != nil {
		return err
	}
	defer fleet.close()
	for _, s := range fleet.servers[:2] { // the third one comes later
		if err := fleet.register(s, 1); err != nil {
			return err
		}
	}

	// Who exists: what the agent says. The zero Config takes the CONSUL_* variables.
	resolver, err := consul.New(consul.Config{Address: cfg.address})
	if err != nil {
		return err
	}
	defer resolver.Close()

	mesh, err := fairlead.New(resolver,
		fairlead.WithBalancer(balancer.WeightedRoundRobin()), // so that weights are seen at once
		fairlead.WithTimeout(2*time.Second),
		fairlead.WithLogger(slog.New(slog.DiscardHandler)), // the table below tells of it
	)
	if err != nil {
		return err
	}
	defer mesh.Close()
	if err := mesh.Ready(ctx, name); err != nil {
		return err
	}

	// From here on it is an http.Client; see load.get for the calls.
	load := startLoad(mesh.Client(), cfg)
	err = play(ctx, w, mesh, fleet, load, cfg)
	calls, failed := load.end()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d calls, %d errors\n", calls, len(failed))
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d calls failed, want none; the first: %w", len(failed), calls, failed[0])
	}
	return nil
}

// config is how much is done.
type config struct {
	address string // of the agent; empty means that of CONSUL_HTTP_ADDR
	callers int
	pause   time.Duration // of a caller between two calls, on average
	watch   time.Duration // for so long calls are counted after each change
}

func defaults() config {
	return config{callers: 24, pause: 20 * time.Millisecond, watch: time.Second}
}

func main() {
	if isServer() {
		serve()
		return
	}
	if err := runWithAgent(os.Stdout, defaults()); err != nil {
		fmt.Fprintln(os.Stderr, "consul:", err)
		os.Exit(1)
	}
}

// runWithAgent starts an agent if there is none. An interrupt ends it in order.
func runWithAgent(w io.Writer, cfg config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if os.Getenv("CONSUL_HTTP_ADDR") == "" {
		agent, err := devagent.Start(ctx)
		if err != nil {
			return err
		}
		defer agent.Stop()
		cfg.address = agent.Addr
		fmt.Fprintf(w, "a Consul agent of our own listens at %s\n", agent.Addr)
	}
	return run(ctx, w, cfg)
}
