package grpcbalancer_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	health "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer()
	health.RegisterHealthServer(server, grpchealth.NewServer())
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	mesh, err := fairlead.New(discovery.Services{"users": discovery.Addrs(listener.Addr().String())})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mesh.Close()

	conn, err := grpc.NewClient("fairlead:///users",
		append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	answer, err := health.NewHealthClient(conn).Check(context.Background(), &health.HealthCheckRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.GetStatus())
	// Output: SERVING
}
