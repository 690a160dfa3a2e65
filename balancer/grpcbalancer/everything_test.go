package grpcbalancer_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/retry"
)

// Everything that can be switched on is, while backends fail, hang, answer late, die
// and come back, and callers leave: every call ends in time, no call that must not be
// repeated reaches two backends, and in the end nothing is in flight.
func TestEverythingUnderStress(t *testing.T) {
	f := newFleet(t, 4,
		fairlead.WithBalancer(balancer.PeakEWMA()),
		fairlead.WithHealthCheck(health.Check{Interval: 200 * time.Millisecond}),
		fairlead.WithOutlierEjection(health.Ejection{Interval: 200 * time.Millisecond, BaseTime: 300 * time.Millisecond}),
		fairlead.WithHedge(retry.Hedge{Quantile: 0.9}),
		fairlead.WithLimit(breaker.Limit{Service: 24, Endpoint: 10, Streams: 4}),
		fairlead.WithThrottle(retry.Throttle{}),
		fairlead.WithBreaker(breaker.Config{OpenFor: 100 * time.Millisecond, MaxOpenFor: 500 * time.Millisecond}),
		fairlead.WithRetry(retry.Config{Attempts: 3, AttemptTimeout: 100 * time.Millisecond}))
	var seen sync.Map // of calls that must not be repeated: how often they were executed
	var ids atomic.Int64
	f.each(func(b *backend) {
		b.does(func(ctx context.Context) error {
			if id := idOf(ctx); id != "" {
				if _, twice := seen.LoadOrStore(id, true); twice {
					t.Errorf("call %s was executed twice", id)
				}
			}
			switch n := rand.IntN(100); {
			case n < 5:
				return status.Error(codes.Unavailable, "busy")
			case n < 8:
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			case n < 20:
				time.Sleep(rand.N(60 * time.Millisecond))
			}
			return nil
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var callers sync.WaitGroup
	for i := range 32 {
		callers.Go(func() {
			for ctx.Err() == nil {
				stressEverything(t, f, i, &ids)
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
			b := f.backends[i%len(f.backends)]
			b.stop()
			b.start(t)
		}
	}
	callers.Wait()
	f.idle(t)
	f.each(func(b *backend) { b.does(func(context.Context) error { return nil }) })
	callUntil(t, f.conn, "all backends are called again", allCalled(f.backends))
}

// stressEverything makes a call, whose caller leaves early now and then.
func stressEverything(t *testing.T, f *fleet, caller int, ids *atomic.Int64) {
	limit := 2 * time.Second
	if rand.IntN(10) == 0 {
		limit = rand.N(50 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	switch caller % 4 {
	case 0:
		_ = check(withID(ctx, ids.Add(1)), f.conn)
	case 1:
		if stream, err := healthpb.NewHealthClient(f.conn).Watch(ctx, &healthpb.HealthCheckRequest{}); err == nil {
			_, _ = stream.Recv()
		}
	default:
		_ = check(allowed(ctx), f.conn)
	}
	if took := time.Since(began); took > limit+patience/2 {
		t.Errorf("a call with a deadline of %v took %v", limit, took)
	}
}

func withID(ctx context.Context, id int64) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "call-id", strconv.FormatInt(id, 10))
}

func idOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("call-id"), " ")
}
