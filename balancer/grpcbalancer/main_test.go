package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(serveAt); addr != "" {
		serve(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// backend is a real gRPC server, of the health service, on loopback.
type backend struct {
	health.UnimplementedHealthServer
	addr      string
	calls     atomic.Int64
	code      atomic.Uint32                                 // what calls are answered
	held      atomic.Bool                                   // calls wait until their context ends
	waiting   atomic.Int64                                  // calls that do
	authority atomic.Pointer[string]                        // of the last call
	unary     atomic.Pointer[func(context.Context) error]   // instead of the code, where set
	stream    atomic.Pointer[func(grpc.ServerStream) error] // what streams are, where set
	stop      func()
	leave     func() // GracefulStop
}

// does says how the backend answers unary calls from now on.
func (b *backend) does(f func(context.Context) error) { b.unary.Store(&f) }

// streams says how the backend serves streams from now on, of any method.
func (b *backend) streams(f func(grpc.ServerStream) error) { b.stream.Store(&f) }

func newBackend(t testing.TB, opts ...grpc.ServerOption) *backend {
	t.Helper()
	b := &backend{addr: "127.0.0.1:0"}
	b.start(t, opts...)
	return b
}

func newBackends(t testing.TB, n int, opts ...grpc.ServerOption) (backends []*backend, addrs []string) {
	t.Helper()
	for range n {
		b := newBackend(t, opts...)
		backends, addrs = append(backends, b), append(addrs, b.addr)
	}
	return backends, addrs
}

// start begins to serve, at the address of before if there was one.
func (b *backend) start(t testing.TB, opts ...grpc.ServerOption) {
	t.Helper()
	l, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	server := grpc.NewServer(append([]grpc.ServerOption{grpc.UnknownServiceHandler(b.other)}, opts...)...)
	health.RegisterHealthServer(server, b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	b.stop = func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
		b.stop = func() {}
	}
	b.leave = func() {
		server.GracefulStop()
		b.stop()
	}
	t.Cleanup(func() { b.stop() })
}

func (b *backend) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	b.calls.Add(1)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		authority := strings.Join(md.Get(":authority"), " ")
		b.authority.Store(&authority)
	}
	if b.held.Load() {
		b.waiting.Add(1)
		defer b.waiting.Add(-1)
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if f := b.unary.Load(); f != nil {
		return &health.HealthCheckResponse{}, (*f)(ctx)
	}
	if code := codes.Code(b.code.Load()); code != codes.OK {
		return nil, status.Error(code, "as the test wants it")
	}
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

func (b *backend) Watch(_ *health.HealthCheckRequest, stream grpc.ServerStreamingServer[health.HealthCheckResponse]) error {
	b.calls.Add(1)
	if f := b.stream.Load(); f != nil {
		return (*f)(stream)
	}
	if err := stream.Send(&health.HealthCheckResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// other serves methods of other services: as unary ones, answered like Check,
// unless the test says what streams are.
func (b *backend) other(_ any, stream grpc.ServerStream) error {
	if f := b.stream.Load(); f != nil {
		b.calls.Add(1)
		return (*f)(stream)
	}
	var req health.HealthCheckRequest
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	resp, err := b.Check(stream.Context(), &req)
	if err != nil {
		return err
	}
	return stream.SendMsg(resp)
}

// dual serves HTTP and gRPC on one port.
type dual struct {
	backend
	requests atomic.Int64 // by HTTP
	status   atomic.Int64
}

func newDual(t *testing.T) *dual {
	t.Helper()
	d := &dual{}
	d.status.Store(http.StatusOK)
	rpc := grpc.NewServer()
	health.RegisterHealthServer(rpc, &d.backend)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				rpc.ServeHTTP(w, r)
				return
			}
			d.requests.Add(1)
			w.WriteHeader(int(d.status.Load()))
		}),
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		rpc.Stop()
		<-served
	})
	return d
}

func newMesh(t testing.TB, r discovery.Resolver, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	quiet := fairlead.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	mesh, err := fairlead.New(r, append([]fairlead.Option{quiet}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mesh.Close(); err != nil {
			t.Error(err)
		}
	})
	return mesh
}

func dial(t testing.TB, mesh *fairlead.Mesh, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append(append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials())), opts...)
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// check makes a unary call.
func check(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{}, opts...)
	return err
}

// mustCheck makes n unary calls that must succeed.
func mustCheck(t *testing.T, conn *grpc.ClientConn, n int, opts ...grpc.CallOption) {
	t.Helper()
	for range n {
		if err := check(t.Context(), conn, opts...); err != nil {
			t.Fatal(err)
		}
	}
}

// callUntil makes calls until done.
func callUntil(t *testing.T, conn *grpc.ClientConn, what string, done func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		_ = check(t.Context(), conn)
		return done()
	})
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func allCalled(backends []*backend) func() bool {
	return func() bool {
		for _, b := range backends {
			if b.calls.Load() == 0 {
				return false
			}
		}
		return true
	}
}

// endpoint returns what the Mesh knows of an endpoint of its only service.
func endpoint(t *testing.T, mesh *fairlead.Mesh, addr string) fairlead.EndpointStatus {
	t.Helper()
	for _, s := range mesh.Status().Services {
		for _, e := range s.Endpoints {
			if e.Addr == addr {
				return e
			}
		}
	}
	t.Fatalf("no endpoint %s", addr)
	return fairlead.EndpointStatus{}
}
