package grpcbalancer_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
)

// A backend whose health service does not say SERVING gets no calls, though it
// would answer them.
func TestHealthCheck(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithHealthCheck(health.Check{Protocol: health.GRPC, Interval: 100 * time.Millisecond}))
	sick := f.backends[1]
	var calls atomic.Int64
	sick.does(func(ctx context.Context) error { // which leaves the serving status unknown
		if md, _ := metadata.FromIncomingContext(ctx); !strings.Contains(strings.Join(md.Get("user-agent"), " "), "fairlead-health") {
			calls.Add(1)
		}
		return nil
	})
	eventually(t, "the backend is unhealthy", func() bool { return f.endpoint(t, sick).State == balancer.Unhealthy })
	before := calls.Load()
	mustCheck(t, f.conn, 30)
	if n := calls.Load() - before; n != 0 {
		t.Errorf("the unhealthy backend had %d of 30 calls", n)
	}
	sick.unary.Store(nil)
	eventually(t, "the backend is ready", func() bool { return f.endpoint(t, sick).State == balancer.Ready })
	f.idle(t)
}
