package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// Streams of responses are used in all ways at once while they are opened again,
// and given up at any moment: each ends, with an answer or with the reason.
func TestStreamsUnderStress(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(retry.Config{Safe: always, Attempts: 5, Budget: retry.Budget{Ratio: -1}}), fairlead.WithoutBreaker())
	f.streams(func(n int64, stream grpc.ServerStream) error {
		switch n % 4 {
		case 0, 1:
			return errBusy
		case 2:
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		return stream.SendMsg(&health.HealthCheckResponse{})
	})
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			giveUp := time.AfterFunc(rand.N(100*time.Millisecond), cancel)
			defer giveUp.Stop()
			stressStream(ctx, t, f, i%2 == 0)
		})
	}
	callers.Wait()
	f.idle(t)
}

func stressStream(ctx context.Context, t *testing.T, f *fleet, header bool) {
	finished := make(chan struct{})
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/grpc.health.v1.Health/Watch", grpc.OnFinish(func(error) { close(finished) }))
	if err != nil {
		if code := status.Code(err); code != codes.Canceled && code != codes.Unavailable {
			t.Errorf("opening: %v", err)
		}
		return
	}
	var others sync.WaitGroup
	others.Go(func() {
		_ = stream.SendMsg(&health.HealthCheckRequest{})
		_ = stream.CloseSend()
	})
	if header {
		others.Go(func() {
			_, _ = stream.Header()
			_ = stream.Context()
		})
	}
	for err == nil {
		err = stream.RecvMsg(&health.HealthCheckResponse{})
	}
	if code := status.Code(err); !errors.Is(err, io.EOF) && code != codes.Canceled && code != codes.Unavailable {
		t.Errorf("%v", err)
	}
	others.Wait()
	select {
	case <-finished:
	case <-time.After(patience):
		t.Error("OnFinish was not called")
	}
}

// A service that was let go while its ClientConn was idle is looked up again.
func TestServiceLetGoWhileIdle(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)}, fairlead.WithServiceIdle(30*time.Millisecond))
	conn := dial(t, mesh, "fairlead:///users", grpc.WithIdleTimeout(10*time.Millisecond))
	for range 3 {
		mustCheck(t, conn, 3)
		eventually(t, "the service is let go", func() bool { return len(mesh.Status().Services) == 0 })
	}
	mustCheck(t, conn, 3)
}
