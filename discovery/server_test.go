package discovery_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead/discovery"
)

// serveGRPC runs a real gRPC server until the returned function is called, which
// returns what Run said.
func serveGRPC(t *testing.T, timeout time.Duration) (client healthgrpc.HealthClient, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthgrpc.RegisterHealthServer(server, health.NewServer())
	registry := discovery.NewRegistry()
	next := watch(t, registry, "users")
	next() // unknown
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- discovery.Serving{
			Server: discovery.GracefulServer(server), Listener: l, Registrar: registry, Service: "users",
			Linger: -1, ShutdownTimeout: timeout,
		}.Run(ctx)
	}()
	next() // registered
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return healthgrpc.NewHealthClient(conn), func() error {
		cancel()
		return <-ended
	}
}

func TestGracefulServer(t *testing.T) {
	client, stop := serveGRPC(t, 10*time.Second)
	if _, err := client.Check(t.Context(), &healthgrpc.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A stream that never ends is cut when the time is up.
func TestGracefulServerIsCut(t *testing.T) {
	client, stop := serveGRPC(t, 200*time.Millisecond)
	stream, err := client.Watch(t.Context(), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want an error that says that a call was cut", err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on after its server's end")
	}
}
