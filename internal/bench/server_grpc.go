package main

import (
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/orca"
)

// serveGRPC serves until the process ends. It reports the same load for ever to who
// asks for reports.
func serveGRPC(listeners []net.Listener) error {
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	load := orca.NewServerMetricsRecorder()
	load.SetQPS(1000)
	load.SetApplicationUtilization(0.5)
	if err := orca.Register(server, orca.ServiceOptions{ServerMetricsProvider: load}); err != nil {
		return err
	}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }()
	}
	return nil
}
