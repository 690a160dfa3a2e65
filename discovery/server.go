package discovery

import (
	"context"
	"net"
)

// Server is what a [Serving] runs. *http.Server is one; [GracefulServer] makes
// one of a *grpc.Server.
type Server interface {
	// Serve answers what comes to the listener, and blocks until the server ends.
	Serve(l net.Listener) error

	// Shutdown takes no new connections and waits for the calls in flight, or
	// returns an error when ctx ends first.
	Shutdown(ctx context.Context) error

	// Close ends the server now, with the calls in flight.
	Close() error
}

// GracefulStopper is a server as *grpc.Server is one.
type GracefulStopper interface {
	// Serve answers what comes to the listener, and blocks until the server ends.
	Serve(l net.Listener) error

	// GracefulStop takes no new calls and waits for those in flight.
	GracefulStop()

	// Stop ends them now, and a GracefulStop under way.
	Stop()
}

// GracefulServer makes a [Server] of one that is stopped in gRPC's manner:
//
//	discovery.GracefulServer(grpc.NewServer())
func GracefulServer(s GracefulStopper) Server { return gracefulServer{s} }

type gracefulServer struct{ GracefulStopper }

func (s gracefulServer) Shutdown(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.GracefulStop()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx) // the Close that follows ends GracefulStop
	}
}

func (s gracefulServer) Close() error {
	s.Stop()
	return nil
}
