// Grpc is a gRPC service whose servers, processes of their own, register
// themselves with a Consul agent, and a client that calls it by name.
//
//	grpc                plays: a server is killed, one leaves, one comes back
//	grpc serve [ID]     is one server, until it is interrupted
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

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/examples/internal/devagent"
	"github.com/fairlead-go/fairlead/retry"
)

// call is the client: it finds the service by name, plays with its servers under
// load, and prints what became of the calls.
func call(ctx context.Context, w io.Writer, servers servers, watch time.Duration) error {
	resolver, err := consul.New(consul.Config{})
	if err != nil {
		return err
	}
	defer resolver.Close()
	mesh, err := fairlead.New(resolver,
		fairlead.WithTimeout(5*time.Second),
		fairlead.WithRetry(retry.Config{Safe: mayBeRepeated}),
	)
	if err != nil {
		return err
	}
	defer mesh.Close()
	if err := mesh.Ready(ctx, service); err != nil {
		return err
	}

	// An interceptor that comes after DialOptions is around each time that gRPC is asked.
	attempts := &attempts{}
	conn, err := grpc.NewClient("fairlead:///"+service, append(grpcbalancer.DialOptions(mesh),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(attempts.count))...)
	if err != nil {
		return err
	}
	defer conn.Close()

	load := startLoad(ctx, conn)
	defer load.end()
	if err := (play{w, mesh, servers, load, watch}).run(ctx); err != nil {
		return err
	}
	load.end()
	return load.report(w, attempts)
}

// mayBeRepeated is asked about calls that a server may have acted on: Name only
// reads, Visit counts.
func mayBeRepeated(_ context.Context, _, path string) bool { return path == nameMethod }

func main() {
	if err := runUntilInterrupt(); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
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
	case len(args) <= 2 && args[0] == "serve":
		return serve(ctx, w, append(args, "")[1])
	}
	return fmt.Errorf("the arguments are %q, want none, or serve and perhaps an ID", args)
}

// playWithAgent starts an agent if there is none. The servers find it as the
// client does, by CONSUL_HTTP_ADDR.
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
	servers, err := startServers()
	defer servers.kill()
	if err != nil {
		return err
	}
	return call(ctx, w, servers, watch)
}
