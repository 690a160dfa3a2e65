package grpcbalancer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// A call whose only endpoint went away ends with what happened to it: it does not
// wait for the endpoint to come back.
func TestNoConnectionForARetry(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe))
	b := f.backends[0]
	stopped := make(chan struct{})
	b.does(func(ctx context.Context) error {
		go func() {
			b.stop()
			close(stopped)
		}()
		<-ctx.Done()
		return ctx.Err()
	})
	if err := check(t.Context(), f.conn); status.Code(err) != codes.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
	<-stopped
	f.idle(t)
}

// A call that waits, and whose only endpoint failed it, is that endpoint's probe.
func TestWaitingCallProbesTheEndpointThatItTried(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(retry.Config{Safe: always, Attempts: 5}),
		fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}))
	var n atomic.Int64
	f.backends[0].does(func(context.Context) error {
		if n.Add(1) <= 3 {
			return errBusy
		}
		return nil
	})
	if err := check(t.Context(), f.conn, grpc.WaitForReady(true)); err != nil {
		t.Errorf("%v, want an answer", err)
	}
}

// A probe that its caller gives up makes room for a call that waits.
func TestWaitingCallAfterAProbeThatWasGivenUp(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}))
	b := f.backends[0]
	b.code.Store(uint32(codes.Unavailable))
	callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, b).Breaker != "closed" })
	eventually(t, "it waits for a probe", func() bool { return f.endpoint(t, b).State == balancer.HalfOpen })
	b.code.Store(0)
	b.held.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	probe := make(chan error, 1)
	go func() { probe <- check(ctx, f.conn) }()
	eventually(t, "the probe is there", func() bool { return b.waiting.Load() == 1 })
	waiting := make(chan error, 1)
	go func() { waiting <- check(t.Context(), f.conn, grpc.WaitForReady(true)) }()
	eventually(t, "the other call waits", func() bool { return f.mesh.Status().Services[0].InFlight == 2 })
	b.held.Store(false)
	cancel()
	<-probe
	if err := <-waiting; err != nil {
		t.Errorf("%v, want an answer", err)
	}
}

// An attempt that ran out of time while it waited for room on its connection was
// never sent: another endpoint answers the call, whatever its method.
func TestAttemptTimeoutBeforeAnythingWasSent(t *testing.T) {
	backends, addrs := newBackends(t, 2, grpc.MaxConcurrentStreams(1))
	f := &fleet{backends: backends}
	f.mesh = newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()),
		fairlead.WithRetry(retry.Config{AttemptTimeout: 250 * time.Millisecond}), fairlead.WithoutBreaker())
	f.conn = f.dial(t)
	full := backends[0]
	full.held.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = check(fairlead.WithOverride(ctx, fairlead.Override{Endpoint: full.addr, AttemptTimeout: -1}), f.conn)
	}()
	eventually(t, "its connection is full", func() bool { return full.waiting.Load() == 1 })
	mustCheck(t, f.conn, 4)
	cancel()
	f.idle(t)
}

// What gRPC takes for a target of ours is one.
func TestFormsOfATarget(t *testing.T) {
	for _, target := range []string{"fairlead:///users", "fairlead:users", "fairlead:/users", "FAIRLEAD:///users"} {
		t.Run(target, func(t *testing.T) {
			f := newFleet(t, 2, fairlead.WithRetry(safe))
			conn := dial(t, f.mesh, target)
			callUntil(t, conn, "both are called", allCalled(f.backends))
			f.reset()
			f.answer(codes.Unavailable)
			if err := check(t.Context(), conn); err == nil {
				t.Error("no error")
			}
			if total, _ := f.calls(); total != 2 {
				t.Errorf("%d attempts, want 2", total)
			}
		})
	}
}

// propagator writes what it is told to.
type propagator func(c propagation.TextMapCarrier)

func (p propagator) Inject(_ context.Context, c propagation.TextMapCarrier) { p(c) }
func (propagator) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context {
	return ctx
}
func (propagator) Fields() []string { return []string{"x-test"} }

// Code of the user's that panics leaves nothing in flight, so that Shutdown ends.
func TestPanicsLeaveNothing(t *testing.T) {
	var after atomic.Int64 // how often it does not
	after.Store(1 << 40)
	due := func() {
		if after.Add(-1) < 0 {
			panic("as the test wants it")
		}
	}
	tests := map[string]struct {
		opt   fairlead.Option
		after int64
	}{
		"a propagator":             {fairlead.WithPropagator(propagator(func(c propagation.TextMapCarrier) { due(); c.Set("x-test", "1") })), 0},
		"a propagator at the pick": {fairlead.WithPropagator(propagator(func(c propagation.TextMapCarrier) { due(); c.Set("x-test", "1") })), 1},
		"Safe":                     {fairlead.WithRetry(retry.Config{Safe: func(context.Context, string, string) bool { due(); return true }}), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 1, tt.opt)
			calls := []func(){
				func() { _ = check(t.Context(), f.conn) },
				func() { _, _ = health.NewHealthClient(f.conn).Watch(t.Context(), &health.HealthCheckRequest{}) },
			}
			for _, call := range calls {
				after.Store(tt.after)
				if !panics(call) {
					t.Error("no panic")
				}
				after.Store(1 << 40)
			}
			f.idle(t)
		})
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// What a propagator writes and nobody can send does not harm the call.
func TestPropagatorOfWhatCannotBeSent(t *testing.T) {
	sent := make(chan metadata.MD, 1)
	b := newBackend(t)
	b.does(func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		sent <- md
		return nil
	})
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)}, fairlead.WithPropagator(propagator(func(c propagation.TextMapCarrier) {
		for key, value := range map[string]string{
			"bad key": "1", "x-line": "a\nb", "x-é": "1", "x-umlaut": "ü", ":path": "/other", "": "x",
			"grpc-timeout": "nonsense", "X-Good": "good", "some-bin": "\x00\xff",
		} {
			c.Set(key, value)
		}
	})))
	mustCheck(t, dial(t, mesh, "fairlead:///users"), 1)
	md := <-sent
	if md.Get("x-good") == nil || md.Get("some-bin")[0] != "\x00\xff" || md.Get("x-line") != nil || md.Get("x-umlaut") != nil {
		t.Errorf("sent %v", md)
	}
}
