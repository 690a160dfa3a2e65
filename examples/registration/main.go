// Registration is two services whose servers, processes of their own, register
// themselves with a Consul agent and call each other by name.
//
//	registration                 plays: servers come, leave, are killed and come back
//	registration users [ID]      is one server of users, until it is interrupted
//	registration orders [ID]     is one server of orders
//
// The agent is the one that CONSUL_HTTP_ADDR names. The play runs one of its own
// where there is none: the program that `make consul` builds.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead-go/fairlead/examples/internal/devagent"
)

func main() {
	if err := runUntilInterrupt(); err != nil {
		fmt.Fprintln(os.Stderr, "registration:", err)
		os.Exit(1)
	}
}

func runUntilInterrupt() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends it at once
	return run(ctx, os.Stdout, os.Args[1:])
}

func run(ctx context.Context, w io.Writer, args []string) error {
	switch {
	case len(args) == 0:
		return playWithAgent(ctx, w, time.Second)
	case len(args) <= 2 && services[args[0]] != nil:
		return serve(ctx, w, args[0], append(args, "")[1])
	}
	return fmt.Errorf("the arguments are %q, want none, or users or orders and perhaps an ID", args)
}

// playWithAgent starts an agent if there is none. The servers find it as the play
// does, by CONSUL_HTTP_ADDR.
func playWithAgent(ctx context.Context, w io.Writer, watch time.Duration) error {
	if os.Getenv("CONSUL_HTTP_ADDR") == "" {
		agent, err := devagent.Start(ctx)
		if err != nil {
			return err
		}
		defer agent.Stop()
		if err := os.Setenv("CONSUL_HTTP_ADDR", agent.Addr); err != nil {
			return err
		}
		fmt.Fprintf(w, "a Consul agent of our own listens at %s\n", agent.Addr)
	}
	return play(ctx, w, watch)
}
