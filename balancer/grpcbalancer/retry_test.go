package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// fleet is the backends of a service, to all of which its ClientConn is connected.
type fleet struct {
	backends []*backend
	mesh     *fairlead.Mesh
	conn     *grpc.ClientConn
}

func newFleet(t *testing.T, n int, opts ...fairlead.Option) *fleet {
	t.Helper()
	backends, addrs := newBackends(t, n)
	opts = append([]fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin())}, opts...)
	f := &fleet{backends: backends, mesh: newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, opts...)}
	f.conn = f.dial(t)
	return f
}

// dial makes another ClientConn, connected to all backends.
func (f *fleet) dial(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn := dial(t, f.mesh, "fairlead:///users", opts...)
	f.reset()
	callUntil(t, conn, "all backends are called", allCalled(f.backends))
	f.reset()
	return conn
}

func (f *fleet) reset() {
	for _, b := range f.backends {
		b.calls.Store(0)
	}
}

// answer has all backends answer with a code.
func (f *fleet) answer(code codes.Code) {
	for _, b := range f.backends {
		b.code.Store(uint32(code))
	}
}

// each changes all backends.
func (f *fleet) each(change func(*backend)) {
	for _, b := range f.backends {
		change(b)
	}
}

// calls returns how many calls the backends got, and the most that one of them did.
func (f *fleet) calls() (total, most int64) {
	for _, b := range f.backends {
		n := b.calls.Load()
		total, most = total+n, max(most, n)
	}
	return total, most
}

// endpoint returns what the Mesh knows of a backend.
func (f *fleet) endpoint(t *testing.T, b *backend) fairlead.EndpointStatus {
	t.Helper()
	return endpoint(t, f.mesh, b.addr)
}

// idle waits until no call is under way.
func (f *fleet) idle(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is in flight", func() bool { return f.inFlight() == 0 })
}

// inFlight counts calls and attempts.
func (f *fleet) inFlight() int {
	n := 0
	for _, s := range f.mesh.Status().Services {
		n += s.InFlight
		for _, e := range s.Endpoints {
			n += e.InFlight
		}
	}
	return n
}

func always(context.Context, string, string) bool { return true }

// safe is the configuration by which all calls may be repeated.
var safe = retry.Config{Safe: always}

// allowed has a call repeated, forbidden has it not.
func allowed(ctx context.Context) context.Context {
	return fairlead.WithOverride(ctx, fairlead.Override{Retry: fairlead.RetryAllowed})
}

func forbidden(ctx context.Context) context.Context {
	return fairlead.WithOverride(ctx, fairlead.Override{Retry: fairlead.RetryForbidden})
}

func TestRetriedOnAnotherEndpoint(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(safe), fairlead.WithoutBreaker())
	bad := f.backends[1]
	bad.code.Store(uint32(codes.Unavailable))
	mustCheck(t, f.conn, 9)
	total, _ := f.calls()
	if n := bad.calls.Load(); n == 0 || total-n != 9 {
		t.Errorf("of 9 calls the bad backend got %d and the others %d, want each of these sent to the others", n, total-n)
	}
	f.idle(t)
}

// declare links a service into the program whose methods promise different things.
var declare = sync.OnceValue(func() error {
	method := func(name string, level *descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		m := &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".grpcbalancertest.Nothing"), OutputType: proto.String(".grpcbalancertest.Nothing")}
		if level != nil {
			m.Options = &descriptorpb.MethodOptions{IdempotencyLevel: level}
		}
		return m
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name:        proto.String("grpcbalancertest.proto"),
		Package:     proto.String("grpcbalancertest"),
		Syntax:      proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Nothing")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Orders"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Read", descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()),
				method("Put", descriptorpb.MethodOptions_IDEMPOTENT.Enum()),
				method("Count", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN.Enum()),
				method("Add", nil),
			},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
})

// invoke makes a unary call of any method.
func invoke(ctx context.Context, conn *grpc.ClientConn, method string, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return conn.Invoke(ctx, method, &health.HealthCheckRequest{}, &health.HealthCheckResponse{}, opts...)
}

const checkMethod = "/grpc.health.v1.Health/Check"

// Each row is one call to three endpoints that all answer with the same code.
func TestWhatIsSentAgain(t *testing.T) {
	if err := declare(); err != nil {
		t.Fatal(err)
	}
	with := func(c retry.Config) []fairlead.Option {
		if c.Safe == nil {
			c.Safe = always
		}
		return []fairlead.Option{fairlead.WithRetry(c)}
	}
	isCheck := func(_ context.Context, method, path string) bool { return method == "POST" && path == checkMethod }
	asIs := func(ctx context.Context) context.Context { return ctx }
	tests := []struct {
		name     string
		opts     []fairlead.Option
		ctx      func(context.Context) context.Context
		method   string
		code     codes.Code
		attempts int64
	}{
		{"nobody said that it is safe", nil, asIs, checkMethod, codes.Unavailable, 1},
		{"the configuration says so", with(safe), asIs, checkMethod, codes.Unavailable, 2},
		{"the configuration names it", with(retry.Config{Safe: isCheck}), asIs, checkMethod, codes.Unavailable, 2},
		{"the configuration names another", with(retry.Config{Safe: isCheck}), asIs, "/grpcbalancertest.Orders/Add", codes.Unavailable, 1},
		{"the caller says so", nil, allowed, checkMethod, codes.Unavailable, 2},
		{"the caller forbids it", with(safe), forbidden, checkMethod, codes.Unavailable, 1},
		{"the caller forbids what is declared", nil, forbidden, "/grpcbalancertest.Orders/Read", codes.Unavailable, 1},
		{"declared without side effects", nil, asIs, "/grpcbalancertest.Orders/Read", codes.Unavailable, 2},
		{"declared idempotent", nil, asIs, "/grpcbalancertest.Orders/Put", codes.Unavailable, 2},
		{"declared as unknown", nil, asIs, "/grpcbalancertest.Orders/Count", codes.Unavailable, 1},
		{"declared as nothing", nil, asIs, "/grpcbalancertest.Orders/Add", codes.Unavailable, 1},
		{"a method that the definition lacks", nil, asIs, "/grpcbalancertest.Orders/Gone", codes.Unavailable, 1},
		{"a method without a definition", nil, asIs, "/other.Service/Read", codes.Unavailable, 1},
		{"no retries, whatever the caller says", []fairlead.Option{fairlead.WithoutRetry()}, allowed, checkMethod, codes.Unavailable, 1},
		{"three attempts", with(retry.Config{Attempts: 3}), asIs, checkMethod, codes.Unavailable, 3},
		{"one attempt", with(retry.Config{Attempts: 1}), asIs, checkMethod, codes.Unavailable, 1},
		{"no time left", with(retry.Config{Backoff: retry.Backoff{Base: 1e6 * time.Hour, Max: 1e6 * time.Hour}}), asIs, checkMethod, codes.Unavailable, 1},
		{"exhausted", with(safe), asIs, checkMethod, codes.ResourceExhausted, 2},
		{"not found", with(safe), asIs, checkMethod, codes.NotFound, 1},
		{"internal", with(safe), asIs, checkMethod, codes.Internal, 1},
		{"unknown", with(safe), asIs, checkMethod, codes.Unknown, 1},
		{"aborted", with(safe), asIs, checkMethod, codes.Aborted, 1},
		{"the server's own deadline", with(safe), asIs, checkMethod, codes.DeadlineExceeded, 1},
		{"the server's own cancel", with(safe), asIs, checkMethod, codes.Canceled, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A hash would send a call to the same endpoint again and again.
			f := newFleet(t, 3, append(tt.opts, fairlead.WithBalancer(balancer.IPHash()))...)
			f.answer(tt.code)
			err := invoke(balancer.WithHashKey(tt.ctx(t.Context()), "key"), f.conn, tt.method)
			if s, ok := status.FromError(err); !ok || s.Code() != tt.code || s.Message() != "as the test wants it" {
				t.Errorf("the caller is told %v, want the server's own word", err)
			}
			if total, most := f.calls(); total != tt.attempts || most > 1 {
				t.Errorf("%d attempts, up to %d on one endpoint; want %d, each on another", total, most, tt.attempts)
			}
			f.idle(t)
		})
	}
}

// Without an endpoint that was not tried, the call goes to one that was.
func TestRetriedOnTheOnlyEndpoint(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe))
	b := f.backends[0]
	b.does(func(context.Context) error {
		if b.calls.Load() == 1 {
			return status.Error(codes.Unavailable, "")
		}
		return nil
	})
	mustCheck(t, f.conn, 1)
	if n := b.calls.Load(); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

func TestRetryBudget(t *testing.T) {
	budget := retry.Budget{Ratio: 1e-9, Burst: 3, PerSecond: -1}
	f := newFleet(t, 3, fairlead.WithRetry(retry.Config{Safe: always, Budget: budget}), fairlead.WithoutBreaker())
	detailed, err := status.New(codes.Unavailable, "busy").WithDetails(&health.HealthCheckRequest{Service: "detail"})
	if err != nil {
		t.Fatal(err)
	}
	f.each(func(b *backend) { b.does(func(context.Context) error { return detailed.Err() }) })
	for i := range 3 {
		if err := check(t.Context(), f.conn); errors.Is(err, retry.ErrBudget) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if total, _ := f.calls(); total != 6 {
		t.Errorf("%d attempts of 3 calls, want 6", total)
	}
	f.reset()
	err = check(t.Context(), f.conn)
	if total, _ := f.calls(); total != 1 || !errors.Is(err, retry.ErrBudget) {
		t.Errorf("%d attempts, %v: want one, and that the budget is used up", total, err)
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.Unavailable || s.Message() != "busy" || len(s.Details()) != 1 {
		t.Errorf("status %v with %v, want the server's", s, s.Details())
	}
	// HTTP pays from the same budget.
	if left := f.mesh.Status().Services[0].RetryBudget; left >= 1 {
		t.Errorf("the Mesh has %v left", left)
	}
}

// What the caller gets besides the status is the last attempt's.
func TestHeadersTrailersAndPeerOfTheLastAttempt(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.Unavailable} {
		t.Run(code.String(), func(t *testing.T) {
			f := newFleet(t, 3, fairlead.WithRetry(safe))
			var order []string
			var mu sync.Mutex
			f.each(func(b *backend) {
				b.does(func(ctx context.Context) error {
					mu.Lock()
					order = append(order, b.addr)
					n := len(order)
					mu.Unlock()
					_ = grpc.SendHeader(ctx, metadata.Pairs("from", b.addr))
					_ = grpc.SetTrailer(ctx, metadata.Pairs("by", b.addr))
					s := status.New(codes.Unavailable, b.addr)
					if n == 2 && code == codes.OK {
						return nil
					}
					s, err := s.WithDetails(&health.HealthCheckRequest{Service: b.addr})
					if err != nil {
						return err
					}
					return s.Err()
				})
			})
			var header, trailer metadata.MD
			var from peer.Peer
			err := check(t.Context(), f.conn, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
			if status.Code(err) != code || len(order) != 2 {
				t.Fatalf("%v after %d attempts", err, len(order))
			}
			last := order[1]
			if !slices.Equal(header.Get("from"), []string{last}) || !slices.Equal(trailer.Get("by"), []string{last}) || from.Addr == nil || from.Addr.String() != last {
				t.Errorf("header %v, trailer %v, peer %v; want those of %s", header, trailer, from.Addr, last)
			}
			if err != nil {
				s := status.Convert(err)
				if s.Message() != last || len(s.Details()) != 1 || s.Details()[0].(*health.HealthCheckRequest).GetService() != last {
					t.Errorf("%v with %v, want that of %s", s, s.Details(), last)
				}
			}
		})
	}
}

// Where the second attempt finds no endpoint, the first's status comes back.
func TestNobodyIsLeftForTheRetry(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}))
	b := f.backends[0]
	b.code.Store(uint32(codes.Unavailable))
	var err error
	for range 2 { // three failures open the breaker, since it is the only endpoint's
		err = check(t.Context(), f.conn)
		if s, _ := status.FromError(err); s.Code() != codes.Unavailable || s.Message() != "as the test wants it" {
			t.Errorf("%v, want the endpoint's word", err)
		}
	}
	if n := b.calls.Load(); n != 3 || f.endpoint(t, b).Breaker != "open" {
		t.Fatalf("%d attempts, breaker %s: want that the second call's second attempt found nobody", n, f.endpoint(t, b).Breaker)
	}
	if err := check(t.Context(), f.conn); !errors.Is(err, balancer.ErrAllRejected) || !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("then %v, want that all rejected it", err)
	}
}

func pushback(values ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, v := range values {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", v))
		}
		return status.Error(codes.Unavailable, "later")
	}
}

func TestPushback(t *testing.T) {
	t.Run("forbids", func(t *testing.T) {
		for _, values := range [][]string{{"-1"}, {"soon"}, {""}, {"1", "1"}} {
			f := newFleet(t, 3, fairlead.WithRetry(safe))
			f.each(func(b *backend) { b.does(pushback(values...)) })
			err := check(t.Context(), f.conn)
			if total, _ := f.calls(); total != 1 || status.Code(err) != codes.Unavailable {
				t.Errorf("%q: %d attempts and %v, want one", values, total, err)
			}
		}
	})
	t.Run("another endpoint is ready", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(safe))
		bad := f.backends[2]
		bad.does(pushback("15000"))
		callUntil(t, f.conn, "it is called", func() bool { return bad.calls.Load() > 0 })
		if e := f.endpoint(t, bad); e.State != balancer.Cooling || e.Breaker != "closed" {
			t.Errorf("%+v, want it cooling", e)
		}
		mustCheck(t, f.conn, 9)
		if n := bad.calls.Load(); n != 1 {
			t.Errorf("it got %d calls, want the one", n)
		}
	})
	t.Run("at once although it asks for long", func(t *testing.T) {
		f := newFleet(t, 2, fairlead.WithRetry(safe))
		f.each(func(b *backend) {
			b.does(func(ctx context.Context) error {
				if total, _ := f.calls(); total == 1 {
					return pushback("3600000")(ctx)
				}
				return nil
			})
		})
		mustCheck(t, f.conn, 1)
		if total, most := f.calls(); total != 2 || most != 1 {
			t.Errorf("%d attempts, up to %d on one, want one on each", total, most)
		}
	})
	t.Run("the only endpoint is waited for", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(safe))
		b := f.backends[0]
		b.does(func(ctx context.Context) error {
			if b.calls.Load() == 1 {
				return pushback("150")(ctx)
			}
			return nil
		})
		began := time.Now()
		mustCheck(t, f.conn, 1)
		if d := time.Since(began); d < 150*time.Millisecond || b.calls.Load() != 2 {
			t.Errorf("%d attempts in %v, want 2 and at least the pause", b.calls.Load(), d)
		}
	})
	t.Run("the only endpoint asks for too long", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(safe))
		f.backends[0].does(pushback("10001"))
		began := time.Now()
		err := check(t.Context(), f.conn)
		if d := time.Since(began); status.Code(err) != codes.Unavailable || f.backends[0].calls.Load() != 1 || d > 10*time.Second {
			t.Errorf("%d attempts in %v, %v: want that it gives up", f.backends[0].calls.Load(), d, err)
		}
	})
	t.Run("no time to wait for the only endpoint", func(t *testing.T) {
		f := newFleet(t, 1, fairlead.WithRetry(safe))
		f.backends[0].does(pushback("9000"))
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if err := check(ctx, f.conn); status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			t.Errorf("%v, want that it gives up at once", err)
		}
	})
}

// GOAWAY on every connection, again and again: no call fails, though none is
// safe to repeat.
func TestConnectionsGrowOld(t *testing.T) {
	backends, addrs := newBackends(t, 3, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 10 * time.Millisecond}))
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all backends are called", allCalled(backends))
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() { mustCheckAll(t, conn, 200) })
	}
	callers.Wait()
	for _, b := range backends {
		if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" || e.InFlight != 0 {
			t.Errorf("%+v", e)
		}
	}
}

// mustCheckAll is mustCheck for any goroutine.
func mustCheckAll(t *testing.T, conn *grpc.ClientConn, n int) {
	for range n {
		if err := check(t.Context(), conn); err != nil {
			t.Error(err)
			return
		}
	}
}

// rude is a server of HTTP/2 that does what the test wants with each request.
type rude struct {
	addr     string
	requests atomic.Int64
}

func newRude(t *testing.T, answer func(f *http2.Framer, stream uint32) error) *rude {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rude{addr: l.Addr().String()}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				r.serve(conn, answer)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return r
}

func (r *rude) serve(conn net.Conn, answer func(*http2.Framer, uint32) error) {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			r.requests.Add(1)
			err = answer(framer, frame.StreamID)
		}
		if err != nil {
			return
		}
	}
}

// What the endpoint provably did not act on is sent to another one, safe or not.
func TestUnprocessedIsSentElsewhere(t *testing.T) {
	errHangUp := errors.New("hang up")
	tests := []struct {
		name   string
		answer func(f *http2.Framer, stream uint32) error
		ctx    func(context.Context) context.Context
		fails  bool
	}{
		{"refused", func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		}, context.WithoutCancel, false},
		{"going away", func(f *http2.Framer, _ uint32) error {
			return errors.Join(f.WriteGoAway(0, http2.ErrCodeNo, nil), errHangUp)
		}, context.WithoutCancel, false},
		{"hung up", func(*http2.Framer, uint32) error { return errHangUp }, context.WithoutCancel, true},
		{"hung up, safe to repeat", func(*http2.Framer, uint32) error { return errHangUp }, allowed, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good, bad := newBackend(t), newRude(t, tt.answer)
			mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(good.addr, bad.addr)},
				fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker(),
				fairlead.WithRetry(retry.Config{Budget: retry.Budget{Ratio: -1}})) // which calls before the first good one might use up
			conn := dial(t, mesh, "fairlead:///users")
			callUntil(t, conn, "the good endpoint is connected", func() bool { return good.calls.Load() > 0 })
			bad.requests.Store(0)
			failed := 0
			eventually(t, "the bad endpoint is called", func() bool {
				if err := check(tt.ctx(t.Context()), conn); err != nil {
					failed++
					if status.Code(err) != codes.Unavailable || !tt.fails {
						t.Errorf("%v", err)
					}
				}
				return bad.requests.Load() >= 3
			})
			if (failed > 0) != tt.fails {
				t.Errorf("%d calls failed, want some: %t", failed, tt.fails)
			}
		})
	}
}
