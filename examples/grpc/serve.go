package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// service is the name under which the servers are found.
const service = "users"

// serve is one server. It returns when ctx has ended and the last call was
// answered.
func serve(ctx context.Context, w io.Writer, id string) error {
	ctx, cancel := endWithParent(ctx)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if id == "" {
		id = service + "-" + listener.Addr().String()
	}
	server := grpc.NewServer()
	server.RegisterService(&usersService, &users{id: id})
	healthgrpc.RegisterHealthServer(server, health.NewServer()) // for the agent's check

	registrar, err := consul.NewRegistrar(consul.Config{}, consul.GRPCCheck{Interval: time.Second})
	if err != nil {
		return err
	}
	defer registrar.Close()
	serving := discovery.Serving{
		Server:    discovery.GracefulServer(server),
		Listener:  listener,
		Registrar: registrar,
		Service:   service,
		Endpoint:  discovery.Endpoint{ID: id},
		Linger:    time.Second,
	}
	fmt.Fprintf(w, "%s listens at %s\n", id, listener.Addr())
	return serving.Run(ctx) // registers now, and leaves the registry first when ctx ends
}
