package grpcbalancer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// No backend ever has more calls than its limit, and nobody fails while there is
// room in the queue.
func TestEndpointLimit(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithLimit(breaker.Limit{Endpoint: 2}))
	most := make([]atomic.Int64, 3)
	for i, b := range f.backends {
		var now atomic.Int64
		b.does(func(context.Context) error {
			n := now.Add(1)
			for m := most[i].Load(); n > m; m = most[i].Load() {
				most[i].CompareAndSwap(m, n)
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
			return nil
		})
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if err := check(ctx, f.conn, grpc.WaitForReady(true)); err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for i := range most {
		if n := most[i].Load(); n > 2 || n == 0 {
			t.Errorf("a backend had %d calls at a time, want at most 2", n)
		}
	}
	f.idle(t)
}

// What finds no room in time says so, with a status that gRPC has for it; streams
// have a limit of their own.
func TestLimitRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit breaker.Limit
	}{
		{"service", breaker.Limit{Service: 2, Queue: -1}},
		{"endpoint", breaker.Limit{Endpoint: 1, Queue: -1}},
		{"service, queued", breaker.Limit{Service: 2}},
		{"endpoint, queued", breaker.Limit{Endpoint: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, 2, fairlead.WithLimit(tt.limit), fairlead.WithRetry(safe))
			f.each(func(b *backend) { b.held.Store(true) })
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					if err := check(ctx, f.conn); status.Code(err) != codes.Canceled {
						t.Errorf("error %v", err)
					}
				})
			}
			eventually(t, "two calls are held", func() bool { return f.backends[0].waiting.Load()+f.backends[1].waiting.Load() == 2 })
			short, done := context.WithTimeout(t.Context(), 200*time.Millisecond)
			err := check(short, f.conn, grpc.WaitForReady(true))
			done()
			if tt.limit.Queue < 0 {
				if status.Code(err) != codes.ResourceExhausted || !errors.Is(err, breaker.ErrLimit) {
					t.Errorf("error %v, want ErrLimit and ResourceExhausted", err)
				}
			} else if status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("error %v, want DeadlineExceeded", err)
			}
			stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Errorf("a stream: %v", err)
			}
			cancel()
			wg.Wait()
			f.each(func(b *backend) { b.held.Store(false) })
			f.idle(t)
			mustCheck(t, f.conn, 5)
			for _, b := range f.backends {
				if e := f.endpoint(t, b); e.Breaker != "closed" {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

func TestStreamLimit(t *testing.T) {
	f := newFleet(t, 2, fairlead.WithLimit(breaker.Limit{Streams: 1, Queue: -1}))
	watch := func(ctx context.Context) error {
		stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := watch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := watch(t.Context()); status.Code(err) != codes.ResourceExhausted || !errors.Is(err, breaker.ErrLimit) {
		t.Errorf("error %v, want ErrLimit and ResourceExhausted", err)
	}
	mustCheck(t, f.conn, 3)
	cancel()
	again, end := context.WithCancel(t.Context())
	defer end()
	eventually(t, "there is room for a stream", func() bool { return watch(again) == nil })
}

// A throttled call is refused before it is sent.
func TestThrottle(t *testing.T) {
	f := newFleet(t, 2, fairlead.WithThrottle(retry.Throttle{Ratio: 1}), fairlead.WithoutBreaker())
	f.answer(codes.Unavailable)
	throttled := false
	for range 200 {
		err := check(t.Context(), f.conn)
		if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		throttled = throttled || errors.Is(err, retry.ErrThrottled)
	}
	if n, _ := f.calls(); !throttled || n > 150 {
		t.Errorf("%d of 200 calls were sent", n)
	}
	f.idle(t)
}

// Who is refused for want of room is told so at the end like all others, and one that
// waits for room is told that the Mesh was closed.
func TestLimitAndTheEnds(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithLimit(breaker.Limit{Endpoint: 1, Queue: 1}))
	f.each(func(b *backend) { b.held.Store(true) })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = check(ctx, f.conn) })
	eventually(t, "a call is held", func() bool { return f.backends[0].waiting.Load() == 1 })
	waited := make(chan error, 1)
	wg.Go(func() { waited <- check(t.Context(), f.conn) })
	eventually(t, "another waits", func() bool { return f.mesh.Status().Services[0].Waiting == 1 })
	var finished atomic.Int64
	if err := check(t.Context(), f.conn, grpc.OnFinish(func(error) { finished.Add(1) })); !errors.Is(err, breaker.ErrLimit) {
		t.Errorf("error %v, want ErrLimit", err)
	}
	if n := finished.Load(); n != 1 {
		t.Errorf("OnFinish was called %d times", n)
	}
	f.mesh.Close()
	if err := <-waited; status.Code(err) != codes.Unavailable || !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
	cancel()
	f.each(func(b *backend) { b.held.Store(false) })
	wg.Wait()
}

func TestServiceLimitCallsOnFinish(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithThrottle(retry.Throttle{Ratio: 1}), fairlead.WithoutBreaker())
	f.answer(codes.Unavailable)
	var finished atomic.Int64
	const calls = 100
	for range calls {
		_ = check(t.Context(), f.conn, grpc.OnFinish(func(error) { finished.Add(1) }))
	}
	if n := finished.Load(); n != calls {
		t.Errorf("OnFinish was called %d times for %d calls", n, calls)
	}
}

// held is a backend's calls that are answered one by one.
type held struct{ began chan chan struct{} }

func holdCalls(b *backend) held {
	h := held{make(chan chan struct{}, 20)}
	b.does(func(ctx context.Context) error {
		end := make(chan struct{})
		h.began <- end
		select {
		case <-end:
		case <-ctx.Done():
		}
		return nil
	})
	return h
}

// next waits for a call to begin, and returns what ends it.
func (h held) next(t *testing.T) (end func()) {
	t.Helper()
	select {
	case c := <-h.began:
		return func() { close(c) }
	case <-time.After(10 * time.Second):
		t.Fatal("no call begins")
		return nil
	}
}

// A call that has found room is in the queue no more, neither in the place of another
// nor woken for it, however long it takes.
func TestPlaceInTheQueueIsGivenUp(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithLimit(breaker.Limit{Endpoint: 2, Queue: 2}))
	calls := holdCalls(f.backends[0])
	done := make(chan error, 10)
	call := func() { done <- check(t.Context(), f.conn) }
	waits := func(n int) {
		t.Helper()
		eventually(t, "calls wait", func() bool { return f.mesh.Status().Services[0].Waiting == n })
	}
	go call()
	first := calls.next(t)
	go call()
	second := calls.next(t)
	go call()
	waits(1)
	go call()
	waits(2)
	first()
	third := calls.next(t)
	waits(1)
	go call() // there is a place in the queue
	waits(2)
	second()
	fourth := calls.next(t) // while the third goes on
	third()
	fifth := calls.next(t)
	fourth()
	fifth()
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	waits(0)
}

// A call that waited for a place and then has no use for it lets the next one have it.
func TestPlaceThatWasWaitedForIsGivenBack(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
	calls := holdCalls(f.backends[0])
	waits := func(n int) {
		t.Helper()
		eventually(t, "calls wait", func() bool { return f.mesh.Status().Services[0].Waiting == n })
	}
	done := make(chan error, 3)
	call := func(ctx context.Context) { done <- check(ctx, f.conn) }
	go call(t.Context())
	first := calls.next(t)
	fickle := &turning{Context: t.Context()}
	go call(fickle)
	waits(1)
	go call(t.Context())
	waits(2)
	fickle.turned.Store(true)
	first()
	calls.next(t)()
	failed := 0
	for range 3 {
		if err := <-done; err != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d calls failed, want the one with bad metadata", failed)
	}
}

// turning is a context that will carry metadata which gRPC refuses before it picks.
type turning struct {
	context.Context
	turned atomic.Bool
}

var badMetadata = metadata.NewOutgoingContext(context.Background(), metadata.MD{"not a key": {""}})

func (c *turning) Value(key any) any {
	if v := badMetadata.Value(key); v != nil && c.turned.Load() {
		time.Sleep(50 * time.Millisecond) // who is next looks meanwhile, and finds the place taken
		return v
	}
	return c.Context.Value(key)
}

// Where all that are ready are full and one is half-open whose probe is under way, a
// call waits, and does not try over and over.
func TestWaitBesideAProbe(t *testing.T) {
	var runs atomic.Int64
	backends, addrs := newBackends(t, 2)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()),
		fairlead.WithLimit(breaker.Limit{Endpoint: 2}), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}),
		fairlead.WithRetry(retry.Config{Safe: always}))
	conn := dial(t, mesh, "fairlead:///users", grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			runs.Add(1)
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	callUntil(t, conn, "both are called", allCalled(backends))
	a, b := backends[0], backends[1]
	only := func(b *backend) context.Context {
		return fairlead.WithOverride(t.Context(), fairlead.Override{Endpoint: b.addr})
	}
	b.code.Store(uint32(codes.Unavailable))
	_ = check(only(b), conn)
	eventually(t, "b is half-open", func() bool { return endpoint(t, mesh, b.addr).State == balancer.HalfOpen })
	b.code.Store(0)
	ofA, ofB := holdCalls(a), holdCalls(b)
	done := make(chan error, 5)
	for range 2 {
		go func() { done <- check(only(a), conn) }()
	}
	ends := []func(){ofA.next(t), ofA.next(t)}
	go func() { done <- check(t.Context(), conn) }()
	ends = append(ends, ofB.next(t))
	before := runs.Load()
	go func() { done <- check(t.Context(), conn) }()
	eventually(t, "a call waits", func() bool { return mesh.Status().Services[0].Waiting == 1 })
	ends[0]()
	ends[0] = ofA.next(t)
	if n := runs.Load() - before; n > 10 {
		t.Errorf("the call that waited tried %d times, want two or three", n)
	}
	for _, end := range ends {
		end()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A call whose time runs out in the queue fails, and is told why. The endpoint's only
// place is taken for longer: a call would give it up, to the next, as it runs out of time.
func TestTimeoutInTheQueue(t *testing.T) {
	const calls = 20
	f := newFleet(t, 1, fairlead.WithLimit(breaker.Limit{Endpoint: 1}), fairlead.WithTimeout(300*time.Millisecond))
	mustCheck(t, f.conn, 1)
	service, err := f.mesh.Hold("users")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	lease, err := service.Balancer().Pick(&balancer.Info{})
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	done := make(chan error, calls)
	for range calls {
		go func() { done <- check(context.Background(), f.conn) }()
	}
	for range calls {
		err := <-done
		if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, fairlead.ErrTimeout) || !errors.Is(err, breaker.ErrLimit) {
			t.Errorf("error %v, want a timeout for want of room", err)
		}
	}
}

// A call that waits for room is told what comes in between: its interceptor fails, or
// its ClientConn is closed.
func TestWaitThatFails(t *testing.T) {
	for name, tt := range map[string]struct {
		fail func(conn *grpc.ClientConn, bad *atomic.Bool, free func())
		want codes.Code
	}{
		"interceptor":       {func(_ *grpc.ClientConn, bad *atomic.Bool, free func()) { bad.Store(true); free() }, codes.Unauthenticated},
		"closed ClientConn": {func(conn *grpc.ClientConn, _ *atomic.Bool, _ func()) { conn.Close() }, codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			backends, addrs := newBackends(t, 1)
			mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
			var bad atomic.Bool
			conn := dial(t, mesh, "fairlead:///users", grpc.WithChainUnaryInterceptor(
				func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					if bad.Load() {
						return status.Error(codes.Unauthenticated, "no token")
					}
					return invoke(ctx, method, req, reply, cc, opts...)
				}))
			other := dial(t, mesh, "fairlead:///users")
			calls := holdCalls(backends[0])
			first := make(chan error, 1)
			go func() { first <- check(t.Context(), other) }()
			free := calls.next(t)
			done := make(chan error, 1)
			go func() { done <- check(t.Context(), conn) }()
			eventually(t, "the call waits", func() bool { return mesh.Status().Services[0].Waiting == 1 })
			tt.fail(conn, &bad, free)
			select {
			case err := <-done:
				if status.Code(err) != tt.want {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			case <-time.After(10 * time.Second):
				t.Error("the call waits for ever")
			}
			if !bad.Load() {
				free()
			}
			<-first
			eventually(t, "nothing is left", func() bool {
				s := mesh.Status().Services[0]
				return s.Waiting == 0 && s.Endpoints[0].InFlight == 0
			})
		})
	}
}

// Connections come and go while calls wait for room: none waits beside a free place.
func TestRoomOverShortConnections(t *testing.T) {
	var addrs []string
	for range 2 {
		addrs = append(addrs, newBackend(t, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 3 * time.Millisecond})).addr)
	}
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)},
		fairlead.WithLimit(breaker.Limit{Endpoint: 1, Queue: 1000}), fairlead.WithoutBreaker())
	conn := dial(t, mesh, "fairlead:///users")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var callers sync.WaitGroup
	for range 40 {
		callers.Go(func() {
			for range 50 {
				if err := check(ctx, conn, grpc.WaitForReady(true)); status.Code(err) == codes.DeadlineExceeded {
					t.Error("a call waits for ever")
					return
				}
			}
		})
	}
	callers.Wait()
	s := mesh.Status().Services[0]
	if n := s.Endpoints[0].InFlight + s.Endpoints[1].InFlight; n != 0 || s.Waiting != 0 {
		t.Errorf("%d attempts are left, and %d wait", n, s.Waiting)
	}
}

// Where all endpoints turn out to be broken, calls that wait for room fail at once, each
// after one more look.
func TestWaitForWhatIsBroken(t *testing.T) {
	const waiters = 50
	var runs atomic.Int64
	backends, addrs := newBackends(t, 1)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()),
		fairlead.WithLimit(breaker.Limit{Endpoint: 1}), fairlead.WithoutRetry(), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	conn := dial(t, mesh, "fairlead:///users", grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			runs.Add(1)
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	mustCheck(t, conn, 1)
	began, end := make(chan struct{}, waiters+1), make(chan struct{})
	backends[0].does(func(context.Context) error {
		began <- struct{}{}
		<-end
		return status.Error(codes.Unavailable, "broken")
	})
	done := make(chan error, waiters+1)
	call := func() { done <- check(t.Context(), conn) }
	go call()
	<-began
	for range waiters {
		go call()
	}
	eventually(t, "all wait", func() bool { return mesh.Status().Services[0].Waiting == waiters })
	before := runs.Load()
	close(end)
	for range waiters + 1 {
		if err := <-done; status.Code(err) != codes.Unavailable {
			t.Errorf("error %v, want Unavailable", err)
		}
	}
	if n := runs.Load() - before; n > 2*waiters {
		t.Errorf("%d more looks by %d that waited, want one each", n, waiters)
	}
}
