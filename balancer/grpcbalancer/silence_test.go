package grpcbalancer_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/silence"
	"github.com/fairlead-go/fairlead/retry"
)

// A connection falls silent without being closed, and new ones work: the endpoint is
// soon back, over another connection, though nothing sends pings.
func TestSilentConnection(t *testing.T) {
	backends, addrs := newBackends(t, 2)
	proxy, err := silence.Listen(backends[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(proxy.Addr(), addrs[1])},
		fairlead.WithBalancer(balancer.RoundRobin()),
		fairlead.WithRetry(retry.Config{AttemptTimeout: 200 * time.Millisecond, Safe: always}))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "both are called", allCalled(backends))
	proxy.Silence()
	callUntil(t, conn, "the endpoint is found broken", func() bool { return endpoint(t, mesh, proxy.Addr()).State == balancer.Open })
	before := backends[0].calls.Load()
	callUntil(t, conn, "the endpoint is back", func() bool {
		return endpoint(t, mesh, proxy.Addr()).State == balancer.Ready && backends[0].calls.Load() > before
	})
	mustCheck(t, conn, 10)
}

// The only endpoint accepts connections and never speaks: calls fail in time, as they
// do when every breaker is open, rather than wait for its handshake.
func TestSoleSilentEndpoint(t *testing.T) {
	b := newBackend(t)
	proxy, err := silence.Listen(b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(proxy.Addr())},
		fairlead.WithRetry(retry.Config{AttemptTimeout: 200 * time.Millisecond, Safe: always}))
	conn := dial(t, mesh, "fairlead:///users")
	mustCheck(t, conn, 3)
	proxy.Mute()
	proxy.Silence()
	var longest time.Duration
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		began := time.Now()
		if err := check(ctx, conn); err == nil {
			t.Error("a call was answered")
		}
		cancel()
		longest = max(longest, time.Since(began))
	}
	t.Logf("the longest call took %v", longest)
	if longest > patience/2 {
		t.Errorf("a call took %v", longest)
	}
}

// A connection that is lost later is like any other, although it took the place of one
// that fell silent: calls wait for the next.
func TestConnectionAfterASilentOne(t *testing.T) {
	b := newBackend(t, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 300 * time.Millisecond}))
	proxy, err := silence.Listen(b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(proxy.Addr())},
		fairlead.WithRetry(retry.Config{AttemptTimeout: 200 * time.Millisecond, Safe: always}))
	conn := dial(t, mesh, "fairlead:///users")
	mustCheck(t, conn, 3)
	state := func() balancer.State { return endpoint(t, mesh, proxy.Addr()).State }
	proxy.Silence()
	for range 20 {
		go func() { _ = check(context.Background(), conn) }()
	}
	eventually(t, "the endpoint is found broken", func() bool { return state() != balancer.Ready })
	callUntil(t, conn, "the endpoint is back", func() bool { return state() == balancer.Ready })
	before := proxy.Accepted()
	calls, failed := 0, 0
	for ; proxy.Accepted() < before+5; calls++ {
		if err := check(t.Context(), conn); err != nil {
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d calls failed when the connection was due to be renewed", failed, calls)
	}
}
