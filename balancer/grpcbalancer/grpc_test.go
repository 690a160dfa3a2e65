package grpcbalancer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"iter"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

func TestUnaryCallsByPolicy(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all three are called", allCalled(backends))
	var before [3]int64
	for i, b := range backends {
		before[i] = b.calls.Load()
	}
	mustCheck(t, conn, 300)
	for i, b := range backends {
		if n := b.calls.Load() - before[i]; n != 100 {
			t.Errorf("backend %d got %d of 300 calls, want 100", i, n)
		}
		if e := endpoint(t, mesh, b.addr); e.InFlight != 0 || int64(e.Picks) < b.calls.Load() {
			t.Errorf("backend %d: %+v after %d calls", i, e, b.calls.Load())
		}
	}
	if s := conn.GetState(); s != connectivity.Ready {
		t.Errorf("the ClientConn is %v", s)
	}
}

func TestClientAddressTravelsInTheContext(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.IPHash()))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all three are connected", allCalled(backends))
	used := make(map[*backend]bool)
	for i := range 30 {
		ctx := balancer.WithClientIP(t.Context(), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		var first *backend
		for range 3 {
			before := make(map[*backend]int64)
			for _, b := range backends {
				before[b] = b.calls.Load()
			}
			if err := check(ctx, conn); err != nil {
				t.Fatal(err)
			}
			for _, b := range backends {
				if b.calls.Load() == before[b] {
					continue
				}
				if first == nil {
					first = b
				}
				if b != first {
					t.Errorf("user %d went to %s and to %s", i, first.addr, b.addr)
				}
			}
		}
		used[first] = true
	}
	if len(used) != 3 {
		t.Errorf("30 users went to %d backends of 3", len(used))
	}
}

func TestBreakerIsSharedWithHTTP(t *testing.T) {
	setup := func(t *testing.T) ([]*dual, *fairlead.Mesh, *grpc.ClientConn) {
		var duals []*dual
		var addrs []string
		for range 3 {
			d := newDual(t)
			duals, addrs = append(duals, d), append(addrs, d.addr)
		}
		mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)},
			fairlead.WithBalancer(balancer.RoundRobin()),
			fairlead.WithBreaker(breaker.Config{OpenFor: time.Hour}))
		conn := dial(t, mesh, "fairlead:///users")
		callUntil(t, conn, "all three are called", func() bool {
			return duals[0].calls.Load() > 0 && duals[1].calls.Load() > 0 && duals[2].calls.Load() > 0
		})
		return duals, mesh, conn
	}
	get := func(t *testing.T, mesh *fairlead.Mesh) int {
		t.Helper()
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}

	t.Run("what gRPC found broken is out for HTTP", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		bad := duals[1]
		bad.code.Store(uint32(codes.Unavailable))
		callUntil(t, conn, "its breaker opens", func() bool { return endpoint(t, mesh, bad.addr).Breaker == "open" })
		for range 30 {
			if code := get(t, mesh); code != http.StatusOK {
				t.Errorf("HTTP %d", code)
			}
		}
		if n := bad.requests.Load(); n != 0 {
			t.Errorf("%d HTTP requests went there", n)
		}
	})
	t.Run("what HTTP found broken is out for gRPC", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		bad := duals[1]
		bad.status.Store(http.StatusInternalServerError)
		eventually(t, "its breaker opens", func() bool {
			get(t, mesh)
			return endpoint(t, mesh, bad.addr).Breaker == "open"
		})
		before := bad.calls.Load()
		mustCheck(t, conn, 30)
		if n := bad.calls.Load() - before; n != 0 {
			t.Errorf("%d calls went there", n)
		}
	})
}

func TestVerdicts(t *testing.T) {
	tests := []struct {
		name    string
		code    codes.Code
		breaker string
	}{
		{"unavailable", codes.Unavailable, "open"},
		{"an answer", codes.NotFound, "closed"},
		{"the server's own deadline", codes.DeadlineExceeded, "closed"},
		{"overload", codes.ResourceExhausted, "closed"},
		{"a handler's plain error, the only endpoint's", codes.Unknown, "closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t)
			mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)}, fairlead.WithBreaker(breaker.Config{OpenFor: time.Hour}))
			conn := dial(t, mesh, "fairlead:///users")
			b.code.Store(uint32(tt.code))
			for i := range 30 {
				err := check(t.Context(), conn)
				if b.calls.Load() == int64(i+1) && status.Code(err) != tt.code {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			if e := endpoint(t, mesh, b.addr); e.Breaker != tt.breaker {
				t.Errorf("after %d calls the breaker is %s, want %s", b.calls.Load(), e.Breaker, tt.breaker)
			}
		})
	}
}

func TestCallerGoneIsNobodysFailure(t *testing.T) {
	b := newBackend(t)
	b.held.Store(true)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users")
	client := health.NewHealthClient(conn)

	var calls sync.WaitGroup
	errGone := errors.New("gone")
	for i := range 40 {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		if i%2 == 0 {
			timed, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			ctx = timed
		}
		calls.Go(func() {
			if _, err := client.Check(ctx, &health.HealthCheckRequest{}); err == nil {
				t.Error("an answer")
			}
		})
		if i%2 == 1 {
			eventually(t, "the call arrives", func() bool { return b.waiting.Load() > 0 })
			cancel(errGone)
		}
	}
	calls.Wait()
	if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" || e.InFlight != 0 {
		t.Errorf("%+v", e)
	}
}

func TestClosingTheClientConnIsNobodysFailure(t *testing.T) {
	b := newBackend(t)
	b.held.Store(true)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	if err := mesh.Ready(t.Context(), "users"); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, mesh, "fairlead:///users")
	var calls sync.WaitGroup
	for range 40 {
		calls.Go(func() {
			if err := check(t.Context(), conn); err == nil {
				t.Error("an answer")
			}
		})
	}
	eventually(t, "all calls arrive", func() bool { return b.waiting.Load() == 40 })
	if n := endpoint(t, mesh, b.addr).InFlight; n != 40 {
		t.Errorf("%d in flight, want 40", n)
	}
	conn.Close()
	calls.Wait()
	if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" || e.InFlight != 0 {
		t.Errorf("%+v", e)
	}
}

func TestServerDiesAndComesBack(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all three are called", allCalled(backends))

	backends[0].stop()
	failed := 0
	for range 300 {
		if err := check(t.Context(), conn); err != nil {
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 300 calls failed, want at most the one that found out", failed)
	}
	backends[0].calls.Store(0)
	backends[0].start(t)
	callUntil(t, conn, "it is called again", func() bool { return backends[0].calls.Load() > 0 })
	mustCheck(t, conn, 30)
}

func TestUnknownService(t *testing.T) {
	registry := discovery.NewRegistry()
	mesh := newMesh(t, registry)
	conn := dial(t, mesh, "fairlead:///nobody")
	for range 3 {
		began := time.Now()
		err := check(t.Context(), conn)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"nobody"`) || !strings.Contains(err.Error(), "unknown service") {
			t.Errorf("%v", err)
		}
		if d := time.Since(began); d > patience/2 {
			t.Errorf("it took %v", d)
		}
	}
	// It is not lost for good: a call that can wait gets through once there is such a service.
	b := newBackend(t)
	if err := registry.Set("nobody", discovery.Addrs(b.addr)...); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, conn, 1, grpc.WaitForReady(true))
}

func TestTargets(t *testing.T) {
	mesh := newMesh(t, discovery.Services{})
	for _, target := range []string{"fairlead:///", "fairlead://users", "fairlead://authority/users", "fairlead:///two%20words"} {
		err := check(t.Context(), dial(t, mesh, target))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: %v", target, err)
		}
	}
	err := check(t.Context(), dial(t, mesh, "passthrough:///127.0.0.1:1"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "want fairlead:///service") {
		t.Errorf("another scheme: %v", err)
	}
}

func TestRegistryChangesAreFollowed(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	registry := discovery.NewRegistry()
	set := func(addrs ...string) {
		t.Helper()
		if err := registry.Set("users", discovery.Addrs(addrs...)...); err != nil {
			t.Fatal(err)
		}
	}
	set(addrs[0])
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	mustCheck(t, conn, 10)
	set(addrs[0], addrs[1])
	callUntil(t, conn, "the newcomer is called", func() bool { return backends[1].calls.Load() > 0 })

	// One leaves with a stream on it, which goes on.
	stream, cancel := watch(t, conn, backends[0], mesh)
	defer cancel()
	set(addrs[1], addrs[2])
	callUntil(t, conn, "the second newcomer is called", func() bool { return backends[2].calls.Load() > 0 })
	before := backends[0].calls.Load()
	mustCheck(t, conn, 30)
	if n := backends[0].calls.Load() - before; n != 0 {
		t.Errorf("%d calls went to the endpoint that left", n)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v, want its own cancel", err)
	}
	// Another weight is no reason to connect anew.
	e := discovery.Endpoint{Addr: addrs[1], Weight: 5}
	if err := registry.Set("users", e, discovery.Endpoint{Addr: addrs[2]}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the weight arrives", func() bool { return endpoint(t, mesh, addrs[1]).Weight == 5 })
	mustCheck(t, conn, 30)
}

// watch opens a stream on a certain backend.
func watch(t *testing.T, conn *grpc.ClientConn, on *backend, mesh *fairlead.Mesh) (health.Health_WatchClient, context.CancelFunc) {
	t.Helper()
	for {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := health.NewHealthClient(conn).Watch(ctx, &health.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if endpoint(t, mesh, on.addr).InFlight > 0 {
			return stream, cancel
		}
		cancel()
		for err == nil {
			_, err = stream.Recv()
		}
	}
}

func TestStreamIsInFlightUntilItsEnd(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users")
	_, cancel := watch(t, conn, b, mesh)
	defer cancel()
	mustCheck(t, conn, 10)
	if n := endpoint(t, mesh, b.addr).InFlight; n != 1 {
		t.Errorf("%d in flight while the stream lasts, want 1", n)
	}
	cancel()
	eventually(t, "the stream is no longer in flight", func() bool { return endpoint(t, mesh, b.addr).InFlight == 0 })
	if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" {
		t.Errorf("%+v", e)
	}
}

func TestCloseThenNewClient(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	for range 3 {
		conn := dial(t, mesh, "fairlead:///users")
		mustCheck(t, conn, 3)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := check(t.Context(), conn); status.Code(err) != codes.Canceled {
			t.Errorf("after Close: %v", err)
		}
	}
	for _, s := range mesh.Status().Services {
		if s.InFlight != 0 {
			t.Errorf("the service is still held %d times", s.InFlight)
		}
	}
}

func TestIdleModeAndBack(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users", grpc.WithIdleTimeout(20*time.Millisecond))
	for range 3 {
		mustCheck(t, conn, 3)
		eventually(t, "idle", func() bool { return conn.GetState() == connectivity.Idle })
		eventually(t, "the service is let go", func() bool { return mesh.Status().Services[0].InFlight == 0 })
	}
	mustCheck(t, conn, 3)
}

func TestMeshesDoNotMix(t *testing.T) {
	backends, addrs := newBackends(t, 4)
	one := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs[:2]...)}, fairlead.WithBalancer(balancer.RoundRobin()))
	two := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs[2:]...)}, fairlead.WithBalancer(balancer.IPHash()))
	first, second := dial(t, one, "fairlead:///users"), dial(t, two, "fairlead:///users")
	callUntil(t, first, "the first pair is called", allCalled(backends[:2]))
	callUntil(t, second, "the second pair is called", allCalled(backends[2:]))
	var before [4]int64
	for i, b := range backends {
		before[i] = b.calls.Load()
	}
	ctx := balancer.WithHashKey(t.Context(), "a key")
	var calls sync.WaitGroup
	for _, conn := range []*grpc.ClientConn{first, second} {
		calls.Go(func() {
			for range 100 {
				if err := check(ctx, conn); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	got := make([]int64, 4)
	for i, b := range backends {
		got[i] = b.calls.Load() - before[i]
	}
	if got[0] != 50 || got[1] != 50 {
		t.Errorf("round robin gave %v", got[:2])
	}
	if max(got[2], got[3]) != 100 || min(got[2], got[3]) != 0 {
		t.Errorf("the hash gave %v", got[2:])
	}
}

func TestTwoClientConnsShareNodes(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	one, two := dial(t, mesh, "fairlead:///users"), dial(t, mesh, "fairlead:///users")
	_, cancelOne := watch(t, one, b, mesh)
	defer cancelOne()
	mustCheck(t, two, 1)
	_, cancelTwo := watch(t, two, b, mesh)
	defer cancelTwo()
	if n := endpoint(t, mesh, b.addr).InFlight; n != 2 {
		t.Errorf("%d in flight, want 2", n)
	}
	two.Close()
	eventually(t, "only one is left", func() bool { return endpoint(t, mesh, b.addr).InFlight == 1 })
	mustCheck(t, one, 3)
}

func TestNobodyIsConnected(t *testing.T) {
	b := newBackend(t)
	b.stop()
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users")
	err := check(t.Context(), conn)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `service "users": none of 1 endpoints is connected`) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	// It tries to connect all the time, and says so in between.
	eventually(t, "the ClientConn says that it failed", func() bool { return conn.GetState() == connectivity.TransientFailure })
	waited := make(chan error, 1)
	go func() { waited <- check(t.Context(), conn, grpc.WaitForReady(true)) }()
	b.start(t)
	if err := <-waited; err != nil {
		t.Errorf("the call that waits: %v", err)
	}
}

func TestNobodyServes(t *testing.T) {
	registry := discovery.NewRegistry()
	if err := registry.Set("users"); err != nil {
		t.Fatal(err)
	}
	mesh := newMesh(t, registry)
	conn := dial(t, mesh, "fairlead:///users")
	err := check(t.Context(), conn)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), balancer.ErrNoEndpoints.Error()) {
		t.Errorf("%v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- check(t.Context(), conn, grpc.WaitForReady(true)) }()
	b := newBackend(t)
	if err := registry.Set("users", discovery.Addrs(b.addr)...); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("the call that waits: %v", err)
	}
}

func TestAllBreakersOpen(t *testing.T) {
	b := newBackend(t)
	b.code.Store(uint32(codes.Unavailable))
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users")
	var err error
	callUntil(t, conn, "the breaker opens", func() bool { return endpoint(t, mesh, b.addr).Breaker == "open" })
	eventually(t, "calls are refused", func() bool {
		before := b.calls.Load()
		err = check(t.Context(), conn)
		return b.calls.Load() == before
	})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), balancer.ErrAllRejected.Error()) || !strings.Contains(err.Error(), breaker.ErrOpen.Error()) {
		t.Errorf("%v", err)
	}
	b.code.Store(uint32(codes.OK))
	mustCheck(t, conn, 1, grpc.WaitForReady(true)) // the probe
	mustCheck(t, conn, 10)
	if e := endpoint(t, mesh, b.addr); e.Breaker != "closed" {
		t.Errorf("%+v", e)
	}
}

func TestMeshIsClosed(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	conn := dial(t, mesh, "fairlead:///users")
	mustCheck(t, conn, 1)
	if err := mesh.Close(); err != nil {
		t.Fatal(err)
	}
	closed := func(err error) bool {
		return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), `service "users": mesh closed`)
	}
	eventually(t, "calls fail because the mesh is closed", func() bool { return closed(check(t.Context(), conn)) })
	if err := check(t.Context(), dial(t, mesh, "fairlead:///users")); !closed(err) {
		t.Errorf("a new ClientConn: %v", err)
	}
}

func TestServiceConfigSwitchedOff(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	mustCheck(t, dial(t, mesh, "fairlead:///users", grpc.WithDisableServiceConfig()), 3)
}

func TestDeprecatedDial(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr)})
	opts := append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()))
	//lint:ignore SA1019 it is deprecated and in use
	conn, err := grpc.Dial("fairlead:///users", opts...) //nolint:staticcheck // deprecated and in use
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustCheck(t, conn, 3)
}

func TestAuthorityIsTheServicesName(t *testing.T) {
	b := newBackend(t)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr), "users:8080": discovery.Addrs(b.addr)})
	for _, name := range []string{"users", "users:8080"} {
		mustCheck(t, dial(t, mesh, "fairlead:///"+name), 1)
		if got := *b.authority.Load(); got != name {
			t.Errorf("authority %q, want %q", got, name)
		}
	}
}

func TestTLSNameIsTheServicesName(t *testing.T) {
	cert := certificate(t, "users")
	b := newBackend(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	creds := grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots}))
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(b.addr), "orders": discovery.Addrs(b.addr)})
	mustCheck(t, dial(t, mesh, "fairlead:///users", creds), 3)
	if err := check(t.Context(), dial(t, mesh, "fairlead:///orders", creds)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "orders") {
		t.Errorf("another name than the certificate's: %v", err)
	}
}

func certificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// mute is a resolver that does not answer until it is told to.
type mute struct{ answer chan discovery.Snapshot }

func (m mute) Watch(ctx context.Context, _ string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		select {
		case s := <-m.answer:
			if !yield(s, nil) {
				return
			}
			<-ctx.Done()
		case <-ctx.Done():
		}
	}
}

func TestCallKeepsItsDeadlineWhileTheResolverIsSilent(t *testing.T) {
	b := newBackend(t)
	resolver := mute{make(chan discovery.Snapshot)}
	mesh := newMesh(t, resolver)
	conn := dial(t, mesh, "fairlead:///users")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := check(ctx, conn); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- check(t.Context(), conn) }()
	resolver.answer <- discovery.Snapshot{Endpoints: discovery.Addrs(b.addr)}
	if err := <-waited; err != nil {
		t.Errorf("the call that waits: %v", err)
	}
}
