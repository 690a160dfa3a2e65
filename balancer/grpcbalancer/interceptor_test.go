package grpcbalancer_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// stubborn is a resolver that only ever fails.
type stubborn struct{ err error }

func (s stubborn) Watch(ctx context.Context, _ string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		if yield(discovery.Snapshot{}, s.err) {
			<-ctx.Done()
		}
	}
}

// Errors of ours have a status and a chain.
func TestErrors(t *testing.T) {
	wants := func(t *testing.T, err error, attempts int, causes ...error) {
		t.Helper()
		if s, ok := status.FromError(err); !ok || s.Code() != codes.Unavailable || !strings.Contains(s.Message(), `"users"`) {
			t.Errorf("%v, want Unavailable and the service's name", err)
		}
		for _, cause := range causes {
			if !errors.Is(err, cause) {
				t.Errorf("%v is not %v", err, cause)
			}
		}
		var call *fairlead.CallError
		if !errors.As(err, &call) || call.Service != "users" || call.Attempts != attempts {
			t.Errorf("%+v of %v, want the service and %d attempts", call, err, attempts)
		}
	}
	// Each is checked as a unary call and as both kinds of stream.
	everyWay := func(ctx context.Context, t *testing.T, conn *grpc.ClientConn, causes ...error) {
		t.Helper()
		wants(t, check(ctx, conn), 0, causes...)
		_, err := health.NewHealthClient(conn).Watch(ctx, &health.HealthCheckRequest{})
		wants(t, err, 0, causes...)
		_, err = conn.NewStream(ctx, both, "/grpcbalancertest.Orders/Talk")
		wants(t, err, 0, causes...)
	}

	t.Run("no endpoints", func(t *testing.T) {
		registry := discovery.NewRegistry()
		if err := registry.Set("users"); err != nil {
			t.Fatal(err)
		}
		everyWay(t.Context(), t, dial(t, newMesh(t, registry), "fairlead:///users"), balancer.ErrNoEndpoints)
	})
	t.Run("not the one that the call wants", func(t *testing.T) {
		f := newFleet(t, 1)
		ctx := fairlead.WithOverride(t.Context(), fairlead.Override{Endpoint: "another"})
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		everyWay(ctx, t, f.conn, balancer.ErrNoEndpoints)
	})
	t.Run("all rejected", func(t *testing.T) {
		f := newFleet(t, 2, forGood)
		f.answer(codes.Unavailable)
		callUntil(t, f.conn, "all breakers open", func() bool {
			return f.endpoint(t, f.backends[0]).Breaker == "open" && f.endpoint(t, f.backends[1]).Breaker == "open"
		})
		everyWay(t.Context(), t, f.conn, balancer.ErrAllRejected, breaker.ErrOpen)
	})
	t.Run("unknown service", func(t *testing.T) {
		conn := dial(t, newMesh(t, discovery.NewRegistry()), "fairlead:///users")
		everyWay(t.Context(), t, conn, fairlead.ErrUnknownService)
		everyWay(t.Context(), t, conn, fairlead.ErrUnknownService)
	})
	t.Run("unresolved", func(t *testing.T) {
		errNo := errors.New("no answer")
		conn := dial(t, newMesh(t, stubborn{errNo}), "fairlead:///users")
		everyWay(t.Context(), t, conn, fairlead.ErrUnresolved, errNo)
	})
	t.Run("closed", func(t *testing.T) {
		f := newFleet(t, 1)
		if err := f.mesh.Close(); err != nil {
			t.Fatal(err)
		}
		for _, conn := range []*grpc.ClientConn{f.conn, dial(t, f.mesh, "fairlead:///users")} {
			everyWay(t.Context(), t, conn, fairlead.ErrClosed)
		}
	})
}

func unaryCounter(n *atomic.Int64) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		n.Add(1)
		return invoker(ctx, method, req, reply, cc, opts...)
	}
}

func streamCounter(n *atomic.Int64) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		n.Add(1)
		return streamer(ctx, desc, cc, method, opts...)
	}
}

// What stands before DialOptions is around the call, what stands after it around
// each attempt.
func TestInterceptorsAroundCallsAndAttempts(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(retry.Config{Safe: always, Attempts: 3}))
	f.answer(codes.Unavailable)
	var calls, attempts, finished atomic.Int64
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(unaryCounter(&calls)),
		grpc.WithChainStreamInterceptor(streamCounter(&calls)),
	}
	opts = append(opts, grpcbalancer.DialOptions(f.mesh)...)
	opts = append(opts, grpc.WithChainUnaryInterceptor(unaryCounter(&attempts)), grpc.WithChainStreamInterceptor(streamCounter(&attempts)))
	conn, err := grpc.NewClient("fairlead:///users", opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f.answer(codes.OK)
	callUntil(t, conn, "all backends are called", allCalled(f.backends))
	f.answer(codes.Unavailable)
	f.each(func(b *backend) { b.streams(failsAtOnce) })
	onFinish := grpc.OnFinish(func(err error) {
		finished.Add(1)
		if status.Code(err) != codes.Unavailable {
			t.Errorf("OnFinish: %v", err)
		}
	})
	zero := func() {
		calls.Store(0)
		attempts.Store(0)
		finished.Store(0)
		f.reset()
	}
	counted := func(t *testing.T) {
		t.Helper()
		total, most := f.calls()
		if calls.Load() != 1 || attempts.Load() != 3 || finished.Load() != 1 || total != 3 || most != 1 {
			t.Errorf("%d calls, %d attempts, %d times OnFinish, %d on the endpoints; want 1, 3, 1 and 3", calls.Load(), attempts.Load(), finished.Load(), total)
		}
	}
	t.Run("unary", func(t *testing.T) {
		zero()
		if err := check(t.Context(), conn, onFinish); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		counted(t)
	})
	t.Run("stream", func(t *testing.T) {
		zero()
		stream, err := health.NewHealthClient(conn).Watch(t.Context(), &health.HealthCheckRequest{}, onFinish)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		counted(t)
	})
}

func TestOnFinishOfOtherEnds(t *testing.T) {
	f := newFleet(t, 1, forGood)
	b := f.backends[0]
	var mu sync.Mutex
	var ends []codes.Code
	onFinish := grpc.OnFinish(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, status.Code(err))
	})
	ended := func(t *testing.T, want codes.Code) {
		t.Helper()
		eventually(t, "OnFinish is called", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(ends) > 0
		})
		f.idle(t)
		mu.Lock()
		defer mu.Unlock()
		if len(ends) != 1 || ends[0] != want {
			t.Errorf("OnFinish was called with %v, want once with %v", ends, want)
		}
		ends = nil
	}
	mustCheck(t, f.conn, 1, onFinish)
	ended(t, codes.OK)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{}, onFinish)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	ended(t, codes.Canceled)
	b.streams(func(stream grpc.ServerStream) error { return stream.SendMsg(&health.HealthCheckResponse{}) })
	stream, err = health.NewHealthClient(f.conn).Watch(t.Context(), &health.HealthCheckRequest{}, onFinish)
	for err == nil {
		_, err = stream.Recv()
	}
	ended(t, codes.OK)
	// Opening fails.
	b.code.Store(uint32(codes.Unavailable))
	callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, b).Breaker == "open" })
	if _, err := health.NewHealthClient(f.conn).Watch(t.Context(), &health.HealthCheckRequest{}, onFinish); err == nil {
		t.Error("a stream was opened")
	}
	ended(t, codes.Unavailable)
}

// Interceptors of the user's around the attempts may do as they like.
func TestWilfulInterceptors(t *testing.T) {
	shutdown := func(t *testing.T, f *fleet) {
		t.Helper()
		f.idle(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := f.mesh.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	type invocation func(ctx context.Context) error
	intercept := func(do func(ctx context.Context, invoke invocation) error) grpc.DialOption {
		return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, _ any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return do(ctx, func(ctx context.Context) error {
				return invoker(ctx, method, req, &health.HealthCheckResponse{}, cc, opts...)
			})
		})
	}

	t.Run("panics before", func(t *testing.T) {
		f := newFleet(t, 3)
		conn := dial(t, f.mesh, "fairlead:///users", intercept(func(context.Context, invocation) error { panic("as the test wants it") }))
		recovered(t, func() { _ = check(t.Context(), conn) })
		shutdown(t, f)
	})
	t.Run("panics after", func(t *testing.T) {
		f := newFleet(t, 3)
		var wild atomic.Bool
		conn := f.dial(t, intercept(func(ctx context.Context, invoke invocation) error {
			err := invoke(ctx)
			if wild.Load() {
				panic("as the test wants it")
			}
			return err
		}))
		wild.Store(true)
		recovered(t, func() { _ = check(t.Context(), conn) })
		shutdown(t, f)
	})
	t.Run("panics with an attempt time limit", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(retry.Config{AttemptTimeout: time.Hour}), fairlead.WithTimeout(time.Hour))
		conn := dial(t, f.mesh, "fairlead:///users", intercept(func(context.Context, invocation) error { panic("as the test wants it") }))
		recovered(t, func() { _ = check(t.Context(), conn) })
		shutdown(t, f)
	})
	t.Run("panics when a stream is open", func(t *testing.T) {
		f := newFleet(t, 3)
		conn := dial(t, f.mesh, "fairlead:///users", grpc.WithChainStreamInterceptor(
			func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				if _, err := streamer(ctx, desc, cc, method, opts...); err != nil {
					t.Error(err)
				}
				panic("as the test wants it")
			}))
		ctx, cancel := context.WithCancel(t.Context())
		recovered(t, func() { _, _ = health.NewHealthClient(conn).Watch(ctx, &health.HealthCheckRequest{}) })
		cancel()
		shutdown(t, f)
	})
	t.Run("never invokes", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(safe))
		errOwn := status.Error(codes.Unavailable, "of the interceptor's own")
		conn := dial(t, f.mesh, "fairlead:///users", intercept(func(context.Context, invocation) error { return errOwn }))
		if err := check(t.Context(), conn); !errors.Is(err, errOwn) {
			t.Errorf("%v, want the interceptor's", err)
		}
		shutdown(t, f)
	})
	t.Run("invokes again", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithoutRetry())
		f.dial(t)
		conn := dial(t, f.mesh, "fairlead:///users", intercept(func(ctx context.Context, invoke invocation) error {
			err := invoke(ctx)
			for range 2 {
				if err != nil {
					err = invoke(ctx)
				}
			}
			return err
		}))
		callUntil(t, conn, "all are called", allCalled(f.backends))
		f.reset()
		f.answer(codes.Unavailable)
		if err := check(t.Context(), conn); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		if total, most := f.calls(); total != 3 || most != 1 {
			t.Errorf("%d attempts, up to %d on one; want each of three on another", total, most)
		}
		shutdown(t, f)
	})
	t.Run("invokes several times at once", func(t *testing.T) {
		eager := retry.Config{Safe: always, AttemptTimeout: time.Hour, Attempts: 5, Backoff: retry.Backoff{Base: 1, Max: 1}, Budget: retry.Budget{Ratio: -1}}
		f := newFleet(t, 3, fairlead.WithRetry(eager), fairlead.WithTimeout(time.Hour), fairlead.WithoutBreaker())
		var losers sync.WaitGroup
		conn := f.dial(t, intercept(func(ctx context.Context, invoke invocation) error {
			first := make(chan error, 3)
			for range 3 {
				losers.Go(func() { first <- invoke(context.WithoutCancel(ctx)) })
			}
			return <-first // the losers go on
		}))
		for i := range 300 {
			f.answer([]codes.Code{codes.OK, codes.Unavailable}[i%2])
			_ = check(t.Context(), conn)
		}
		losers.Wait()
		shutdown(t, f)
	})
	t.Run("invokes when the call is over", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(safe))
		over := make(chan struct{})
		var late sync.WaitGroup
		conn := dial(t, f.mesh, "fairlead:///users", intercept(func(ctx context.Context, invoke invocation) error {
			late.Go(func() {
				<-over
				if err := invoke(ctx); err != nil {
					t.Error(err)
				}
			})
			return invoke(ctx)
		}))
		if _, err := health.NewHealthClient(conn).Check(t.Context(), &health.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		close(over)
		late.Wait()
		shutdown(t, f)
	})
}

func recovered(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f()
}

// A call that is made in the course of another one is a call of its own.
func TestCallInTheCourseOfAnother(t *testing.T) {
	orders := newFleet(t, 1)
	users := newFleet(t, 1)
	conn := dial(t, users.mesh, "fairlead:///users", grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			// Another Mesh's, and the same's.
			for _, other := range []*grpc.ClientConn{orders.conn, users.conn} {
				if err := check(ctx, other); err != nil {
					return err
				}
			}
			return invoker(ctx, method, req, reply, cc, opts...)
		}))
	mustCheck(t, conn, 3)
	if n, m := orders.backends[0].calls.Load(), users.backends[0].calls.Load(); n != 3 || m != 6 {
		t.Errorf("%d calls to the other service and %d to ours, want 3 and 6", n, m)
	}
	orders.idle(t)
	users.idle(t)
}

func TestShutdownWaitsForCalls(t *testing.T) {
	f := newFleet(t, 2)
	release := make(chan struct{})
	f.each(func(b *backend) {
		b.does(func(context.Context) error {
			b.waiting.Add(1)
			<-release
			return nil
		})
		b.streams(func(stream grpc.ServerStream) error {
			b.waiting.Add(1)
			<-release
			return stream.SendMsg(&health.HealthCheckResponse{})
		})
	})
	ended := make(chan error, 2)
	go func() { ended <- check(t.Context(), f.conn) }()
	go func() {
		stream, err := health.NewHealthClient(f.conn).Watch(t.Context(), &health.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		ended <- err
		if err == nil {
			_, _ = stream.Recv() // its end
		}
	}()
	eventually(t, "both arrive", func() bool { return f.backends[0].waiting.Load()+f.backends[1].waiting.Load() == 2 })

	shut := make(chan error, 1)
	go func() { shut <- f.mesh.Shutdown(t.Context()) }()
	eventually(t, "no call begins any more", func() bool { return f.mesh.Status().Closed })
	for range 3 {
		if err := check(t.Context(), f.conn); status.Code(err) != codes.Unavailable || !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("%v, want that the Mesh is closed", err)
		}
		if _, err := health.NewHealthClient(f.conn).Watch(t.Context(), &health.HealthCheckRequest{}); status.Code(err) != codes.Unavailable || !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("%v, want that the Mesh is closed", err)
		}
	}
	select {
	case err := <-shut:
		t.Fatalf("Shutdown returned %v with calls in flight", err)
	default:
	}
	if total, _ := f.calls(); total != 2 {
		t.Errorf("%d calls arrived, want the two", total)
	}
	close(release)
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("a call in flight: %v", err)
		}
	}
	if err := <-shut; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A call that began before a Shutdown is waited for, though its ClientConn was idle then.
func TestShutdownWaitsForAnIdleConn(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	began, goOn := make(chan struct{}), make(chan struct{})
	conn := dial(t, mesh, "fairlead:///users", grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			close(began)
			<-goOn
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	answered, shut := make(chan error, 1), make(chan error, 1)
	go func() { answered <- check(t.Context(), conn) }()
	<-began
	go func() { shut <- mesh.Shutdown(t.Context()) }()
	eventually(t, "no new call may begin", func() bool { return errors.Is(mesh.Ready(t.Context(), "users"), fairlead.ErrClosed) })
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-shut; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if service, err := mesh.Hold("users"); !errors.Is(err, fairlead.ErrClosed) {
		service.Close()
		t.Errorf("Hold after all calls: %v, want ErrClosed", err)
	}
}

func TestShutdownGivesUp(t *testing.T) {
	f := newFleet(t, 1)
	f.backends[0].held.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- check(ctx, f.conn) }()
	eventually(t, "the call arrives", func() bool { return f.backends[0].waiting.Load() == 1 })
	errEnough := errors.New("enough")
	waiting, stop := context.WithCancelCause(t.Context())
	stop(errEnough)
	if err := f.mesh.Shutdown(waiting); !errors.Is(err, errEnough) {
		t.Errorf("Shutdown: %v, want the cause of its context's end", err)
	}
	cancel()
	<-ended
	if err := f.mesh.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Close does not wait: it ends under calls, and every call ends.
func TestCloseUnderLoad(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(safe))
	var callers sync.WaitGroup
	var over atomic.Bool
	for range 8 {
		callers.Go(func() {
			for !over.Load() {
				if err := check(t.Context(), f.conn); err != nil && status.Code(err) != codes.Unavailable {
					t.Errorf("%v", err)
				}
			}
		})
		callers.Go(func() {
			for !over.Load() {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{})
				if err == nil {
					_, err = stream.Recv()
				}
				if err != nil && status.Code(err) != codes.Unavailable {
					t.Errorf("%v", err)
				}
				cancel()
			}
		})
	}
	eventually(t, "there is load", func() bool { total, _ := f.calls(); return total > 100 })
	if err := f.mesh.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "calls are refused", func() bool { return errors.Is(check(t.Context(), f.conn), fairlead.ErrClosed) })
	over.Store(true)
	callers.Wait()
}
