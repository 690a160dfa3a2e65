package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// forGood is a breaker that stays open once it is.
var forGood = fairlead.WithBreaker(breaker.Config{OpenFor: time.Hour})

func TestCallTimeout(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithTimeout(30*time.Millisecond), fairlead.WithRetry(safe))
	b := f.backends[0]
	b.held.Store(true)
	err := check(t.Context(), f.conn)
	if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, fairlead.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fairlead.ErrAttemptTimeout) {
		t.Errorf("%v, want that the call timed out", err)
	}
	var call *fairlead.CallError
	if !errors.As(err, &call) || call.Service != "users" || call.Endpoint != b.addr || call.Attempts != 1 || !call.Timeout() {
		t.Errorf("%+v of %v", call, err)
	}
	if n := b.calls.Load(); n != 1 {
		t.Errorf("%d attempts, want no second where no time is left", n)
	}
	f.idle(t)
}

func TestTimeoutsAreTheEndpointsFailures(t *testing.T) {
	const limit = 250 * time.Millisecond // long enough for each call to arrive on a busy machine
	for name, opt := range map[string]fairlead.Option{
		"of the call":    fairlead.WithTimeout(limit),
		"of the attempt": fairlead.WithRetry(retry.Config{AttemptTimeout: limit}),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, opt, forGood)
			bad := f.backends[0]
			bad.held.Store(true)
			callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, bad).Breaker == "open" })
			if n := bad.calls.Load(); n != 5 {
				t.Errorf("the breaker opened after %d calls, want 5", n)
			}
		})
	}
}

func TestAttemptTimeout(t *testing.T) {
	const limit = 250 * time.Millisecond // long enough for each attempt to arrive on a busy machine
	timedOut := func(t *testing.T, err error, attempts int) {
		t.Helper()
		if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, fairlead.ErrAttemptTimeout) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fairlead.ErrTimeout) {
			t.Errorf("%v, want that the attempt timed out", err)
		}
		var call *fairlead.CallError
		if !errors.As(err, &call) || call.Attempts != attempts || call.Endpoint == "" {
			t.Errorf("%+v of %v, want %d attempts", call, err, attempts)
		}
	}
	t.Run("not safe", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(retry.Config{AttemptTimeout: limit}), fairlead.WithBalancer(balancer.LeastConn()))
		f.each(func(b *backend) { b.held.Store(true) })
		timedOut(t, check(t.Context(), f.conn), 1)
	})
	t.Run("safe, and all hang", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(retry.Config{AttemptTimeout: limit, Safe: always, Attempts: 3}))
		f.each(func(b *backend) { b.held.Store(true) })
		timedOut(t, check(t.Context(), f.conn), 3)
		if total, most := f.calls(); total != 3 || most != 1 {
			t.Errorf("%d attempts, up to %d on one; want one on each", total, most)
		}
		f.idle(t)
	})
	t.Run("safe, and one hangs", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(retry.Config{AttemptTimeout: time.Second, Safe: always}))
		f.backends[1].held.Store(true)
		mustCheck(t, f.conn, 3)
		if n := f.backends[1].calls.Load(); n == 0 {
			t.Error("it was not called")
		}
	})
	t.Run("the override's", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(retry.Config{AttemptTimeout: time.Hour}))
		f.backends[0].held.Store(true)
		timedOut(t, check(fairlead.WithOverride(t.Context(), fairlead.Override{AttemptTimeout: limit}), f.conn), 1)
	})
	t.Run("the override has none", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(retry.Config{AttemptTimeout: limit}))
		f.backends[0].does(func(context.Context) error {
			<-time.After(2 * limit)
			return nil
		})
		if err := check(fairlead.WithOverride(t.Context(), fairlead.Override{AttemptTimeout: -1}), f.conn); err != nil {
			t.Errorf("%v", err)
		}
	})
	t.Run("nobody is left for the retry", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(retry.Config{AttemptTimeout: limit, Safe: always}), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}))
		f.backends[0].held.Store(true)
		timedOut(t, check(t.Context(), f.conn), 2)
		timedOut(t, check(t.Context(), f.conn), 1) // its second attempt found the breaker open
		if s := f.endpoint(t, f.backends[0]); s.Breaker != "open" {
			t.Errorf("%+v", s)
		}
	})
	t.Run("the budget is used up", func(t *testing.T) {
		none := retry.Budget{Ratio: 1e-9, Burst: -1, PerSecond: -1}
		f := newFleet(t, 2, fairlead.WithRetry(retry.Config{AttemptTimeout: limit, Safe: always, Budget: none}))
		f.each(func(b *backend) { b.held.Store(true) })
		err := check(t.Context(), f.conn)
		timedOut(t, err, 1)
		if !errors.Is(err, retry.ErrBudget) {
			t.Errorf("%v, want that the budget is used up", err)
		}
	})
}

// What the caller's context ends is nobody's failure, also where limits of ours
// are set.
func TestTheCallersOwnDeadlineAndCancel(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithTimeout(time.Hour), fairlead.WithRetry(retry.Config{AttemptTimeout: time.Hour, Safe: always}), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	b := f.backends[0]
	b.held.Store(true)
	errGone := errors.New("gone")
	for range 10 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errGone)
		err := check(ctx, f.conn)
		cancel()
		if status.Code(err) != codes.DeadlineExceeded || errors.Is(err, fairlead.ErrTimeout) || errors.Is(err, fairlead.ErrAttemptTimeout) {
			t.Errorf("%v, want the caller's deadline", err)
		}
		gone, cancelCause := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- check(gone, f.conn) }()
		eventually(t, "the call arrives", func() bool { return b.waiting.Load() > 0 })
		cancelCause(errGone)
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("%v, want the caller's cancel", err)
		}
		eventually(t, "the call is over", func() bool { return b.waiting.Load() == 0 })
	}
	if e := f.endpoint(t, b); e.Breaker != "closed" {
		t.Errorf("%+v", e)
	}
	if left := f.mesh.Status().Services[0].RetryBudget; left < retry.MaxAttempts {
		t.Errorf("the budget is down to %v", left)
	}
	f.idle(t)
}

// A caller that goes away while its call waits to be sent again.
func TestCallerGoneDuringThePause(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe))
	b := f.backends[0]
	b.does(pushback("9000"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- check(ctx, f.conn) }()
	eventually(t, "the first attempt is over", func() bool {
		e := f.endpoint(t, b)
		return b.calls.Load() == 1 && e.Picks > 0 && e.InFlight == 0
	})
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("%v, want the caller's cancel", err)
	}
	f.idle(t)
}

func TestCallTimeoutWhileNobodyIsConnected(t *testing.T) {
	b := newBackend(t)
	b.stop()
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)}, fairlead.WithTimeout(100*time.Millisecond))
	conn := dial(t, mesh, "fairlead:///users")
	err := check(t.Context(), conn, grpc.WaitForReady(true))
	if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, fairlead.ErrTimeout) {
		t.Errorf("%v, want that the call timed out", err)
	}
	var call *fairlead.CallError
	if !errors.As(err, &call) || call.Attempts != 0 || call.Endpoint != "" {
		t.Errorf("%+v, want no attempt", call)
	}
	if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" || e.InFlight != 0 {
		t.Errorf("%+v", e)
	}
}

func TestTimeoutsOfOneService(t *testing.T) {
	b := newBackend(t)
	b.does(func(context.Context) error {
		<-time.After(200 * time.Millisecond)
		return nil
	})
	mesh := newMesh(t, discovery.Services{"fast": discovery.Addrs(b.addr), "slow": discovery.Addrs(b.addr)},
		fairlead.ForService("fast", fairlead.WithTimeout(20*time.Millisecond)))
	fast, slow := dial(t, mesh, "fairlead:///fast"), dial(t, mesh, "fairlead:///slow")
	if err := check(t.Context(), fast); !errors.Is(err, fairlead.ErrTimeout) {
		t.Errorf("%v, want that the call timed out", err)
	}
	if err := check(t.Context(), slow); err != nil {
		t.Errorf("the other service: %v", err)
	}
}

func TestStreamsHaveNoTimeout(t *testing.T) {
	const limit = 50 * time.Millisecond
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)}, fairlead.WithTimeout(limit), fairlead.WithRetry(retry.Config{AttemptTimeout: limit}))
	conn := dial(t, mesh, "fairlead:///users")
	b.streams(func(stream grpc.ServerStream) error {
		for range 2 {
			<-time.After(4 * limit)
			if err := stream.SendMsg(&health.HealthCheckResponse{}); err != nil {
				return err
			}
		}
		return nil
	})
	stream, err := health.NewHealthClient(conn).Watch(t.Context(), &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want a good end", err)
	}
}

// probing makes a fleet whose first endpoint is out and soon to be probed.
func probing(t *testing.T, opts ...fairlead.Option) (*fleet, *backend) {
	t.Helper()
	opts = append([]fairlead.Option{fairlead.WithBreaker(breaker.Config{OpenFor: 200 * time.Millisecond})}, opts...)
	f := newFleet(t, 3, opts...)
	bad := f.backends[0]
	bad.code.Store(uint32(codes.Unavailable))
	callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, bad).Breaker == "open" })
	bad.calls.Store(0)
	return f, bad
}

func TestProbe(t *testing.T) {
	t.Run("brings the endpoint back", func(t *testing.T) {
		f, bad := probing(t, fairlead.WithRetry(safe))
		bad.code.Store(uint32(codes.OK))
		eventually(t, "it is back", func() bool {
			mustCheck(t, f.conn, 1)
			return f.endpoint(t, bad).Breaker == "closed"
		})
	})
	t.Run("fails, and the call goes elsewhere", func(t *testing.T) {
		f, bad := probing(t, fairlead.WithRetry(safe))
		eventually(t, "it was tried", func() bool {
			mustCheck(t, f.conn, 1)
			return bad.calls.Load() >= 2
		})
	})
	t.Run("hangs, and the call goes elsewhere", func(t *testing.T) {
		f, bad := probing(t, fairlead.WithRetry(safe))
		bad.held.Store(true)
		eventually(t, "it was tried", func() bool {
			mustCheck(t, f.conn, 1) // it would hang for as long as the test is patient
			return bad.calls.Load() == 1
		})
		if e := f.endpoint(t, bad); e.Breaker == "closed" {
			t.Errorf("%+v, want it out", e)
		}
	})
	t.Run("is no call that must not be repeated", func(t *testing.T) {
		f, bad := probing(t)
		bad.code.Store(uint32(codes.OK))
		eventually(t, "it waits for a probe", func() bool { return f.endpoint(t, bad).State == balancer.HalfOpen })
		mustCheck(t, f.conn, 50)
		if n := bad.calls.Load(); n != 0 {
			t.Errorf("%d calls went there", n)
		}
		if err := check(allowed(t.Context()), f.conn); err != nil || bad.calls.Load() != 1 {
			t.Errorf("%v, %d calls there: want that one which may be repeated goes there", err, bad.calls.Load())
		}
	})
}
