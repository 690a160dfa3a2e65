package grpcbalancer_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// rivals returns two ClientConns to the same three servers: grpc-go's own with
// its round_robin, and ours with the defaults of a Mesh. Both are connected.
func rivals(t testing.TB, opts ...grpc.ServerOption) (theirs, ours *grpc.ClientConn) {
	t.Helper()
	backends, addrs := newBackends(t, 3, opts...)
	theirs = dialRoundRobin(t, addrs)
	ours = dial(t, newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}), "fairlead:///users")
	for _, conn := range []*grpc.ClientConn{theirs, ours} {
		for _, b := range backends {
			b.calls.Store(0)
		}
		eventually(t, "every server is called", func() bool {
			unary(t.Context(), t, conn)
			return allCalled(backends)()
		})
	}
	return theirs, ours
}

func dialRoundRobin(t testing.TB, addrs []string) *grpc.ClientConn {
	t.Helper()
	var endpoints []resolver.Endpoint
	for _, addr := range addrs {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	known := manual.NewBuilderWithScheme("known")
	known.InitialState(resolver.State{Endpoints: endpoints})
	conn, err := grpc.NewClient("known:///users",
		grpc.WithResolvers(known),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// unary makes a whole unary call. Where ctx never ends, nothing is measured but
// the call.
func unary(ctx context.Context, t testing.TB, conn *grpc.ClientConn) {
	if _, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
}

// cost is what something takes from the heap.
type cost struct{ allocations, bytes float64 }

// costOf returns what f takes from the heap on average, its server's share included.
func costOf(f func()) cost {
	const times = 100
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		f()
	}
	runtime.ReadMemStats(&after)
	return cost{
		allocations: float64(after.Mallocs-before.Mallocs) / times,
		bytes:       float64(after.TotalAlloc-before.TotalAlloc) / times,
	}
}

// extraCost returns how much more ours takes than theirs: the median over rounds
// in which one follows the other.
func extraCost(theirs, ours func()) cost {
	const rounds = 15
	var allocations, bytes []float64
	for range rounds {
		before, after := costOf(theirs), costOf(ours)
		allocations = append(allocations, after.allocations-before.allocations)
		bytes = append(bytes, after.bytes-before.bytes)
	}
	return cost{median(allocations), median(bytes)}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// want fails where there are more allocations than allowed. What gRPC does by the
// way, such as to write two frames at once, adds less than a fifth of one.
func (c cost) want(t *testing.T, allowed float64) {
	t.Helper()
	t.Logf("%.2f allocations of %.0f bytes more than by grpc-go's round_robin", c.allocations, c.bytes)
	if grpcbalancer.RaceEnabled {
		allowed++
	}
	if c.allocations > allowed+0.2 {
		t.Errorf("%.2f allocations more than by grpc-go's round_robin, want at most %v", c.allocations, allowed)
	}
}

// The two are the call, and gobreaker's admission.
func TestUnaryCallAllocatesAtMostTwoMore(t *testing.T) {
	theirs, ours := rivals(t)
	deadline, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"no deadline": context.Background(), "deadline": deadline} {
		t.Run(name, func(t *testing.T) {
			extraCost(func() { unary(ctx, t, theirs) }, func() { unary(ctx, t, ours) }).want(t, 2)
		})
	}
}

// Once it is open, a stream is grpc-go's own.
func TestMessagesOfAStreamAllocateNoMore(t *testing.T) {
	for name, desc := range map[string]*grpc.StreamDesc{
		"server streaming": {ServerStreams: true},
		"bidirectional":    {ServerStreams: true, ClientStreams: true},
	} {
		t.Run(name, func(t *testing.T) {
			prompts := map[string]chan struct{}{"/test/theirs": make(chan struct{}), "/test/ours": make(chan struct{})}
			theirs, ours := rivals(t, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
				method, _ := grpc.MethodFromServerStream(stream)
				return sendPrompted(stream, prompts[method], desc.ClientStreams)
			}))
			extra := extraCost(
				receiver(t, theirs, desc, "/test/theirs", prompts),
				receiver(t, ours, desc, "/test/ours", prompts),
			)
			extra.want(t, 0)
		})
	}
}

// sendPrompted sends a message at each prompt, after a message from the client
// where those are many.
func sendPrompted(stream grpc.ServerStream, prompts <-chan struct{}, both bool) error {
	for {
		select {
		case <-prompts:
		case <-stream.Context().Done():
			return nil
		}
		if both {
			if err := stream.RecvMsg(&health.HealthCheckRequest{}); err != nil {
				return err
			}
		}
		if err := stream.SendMsg(&health.HealthCheckResponse{}); err != nil {
			return err
		}
	}
}

// receiver opens a stream and returns what receives a message of it.
func receiver(t *testing.T, conn *grpc.ClientConn, desc *grpc.StreamDesc, method string, prompts map[string]chan struct{}) func() {
	t.Helper()
	stream, err := conn.NewStream(t.Context(), desc, method)
	if err != nil {
		t.Fatal(err)
	}
	var request health.HealthCheckRequest
	var response health.HealthCheckResponse
	if !desc.ClientStreams {
		if err := errors.Join(stream.SendMsg(&request), stream.CloseSend()); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if desc.ClientStreams {
			if err := stream.SendMsg(&request); err != nil {
				t.Error(err)
			}
		}
		prompts[method] <- struct{}{}
		if err := stream.RecvMsg(&response); err != nil {
			t.Error(err)
		}
	}
}
