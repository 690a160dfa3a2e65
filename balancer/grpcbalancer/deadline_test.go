package grpcbalancer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

// unnoticed is a context whose deadline the server alone keeps.
type unnoticed struct {
	context.Context
	deadline time.Time
}

func (c unnoticed) Deadline() (time.Time, bool) { return c.deadline, true }

// Where the caller's own deadline is sooner than WithTimeout's, it is the one
// that counts, also where the server's word of it comes before it is noticed here.
func TestSoonerDeadlineOfTheCaller(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)},
		fairlead.WithTimeout(time.Hour), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	conn := dial(t, mesh, "fairlead:///users")
	mustCheck(t, conn, 1)
	b.held.Store(true)
	ctx := unnoticed{t.Context(), time.Now().Add(50 * time.Millisecond)}
	_, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{})
	if status.Code(err) != codes.DeadlineExceeded || errors.Is(err, fairlead.ErrTimeout) {
		t.Errorf("error %v, want the caller's deadline", err)
	}
	if got := endpoint(t, mesh, b.addr).Breaker; got != "closed" {
		t.Errorf("the breaker is %s, want closed", got)
	}
}
