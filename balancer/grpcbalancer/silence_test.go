package grpcbalancer_test

import (
	"testing"
	"time"

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
