package grpcbalancer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// soon is how long a call may take that nothing should delay: much less than
// any time limit, and enough for a busy machine.
const soon = 5 * time.Second

// calling is callers of check without pause.
type calling struct {
	t       *testing.T
	over    atomic.Bool
	callers sync.WaitGroup
	calls   atomic.Int64
	slowest atomic.Int64
	mu      sync.Mutex
	failed  []error // guarded by mu
}

// keepChecking starts n callers, whose calls may not be sent again unless the
// Mesh says so.
func keepChecking(t *testing.T, conn *grpc.ClientConn, n int) *calling {
	t.Helper()
	c := &calling{t: t}
	for range n {
		c.callers.Go(func() {
			for !c.over.Load() {
				began := time.Now()
				err := check(context.Background(), conn)
				c.calls.Add(1)
				c.mu.Lock()
				c.slowest.Store(max(c.slowest.Load(), int64(time.Since(began))))
				if err != nil {
					c.failed = append(c.failed, err)
				}
				c.mu.Unlock()
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *calling) end() {
	c.over.Store(true)
	c.callers.Wait()
}

// more waits for n further calls.
func (c *calling) more(n int64) {
	c.t.Helper()
	before := c.calls.Load()
	eventually(c.t, "more calls", func() bool { return c.calls.Load() >= before+n })
}

// mustEnd ends the calls, none of which may have failed or taken long.
func (c *calling) mustEnd() {
	c.t.Helper()
	c.end()
	if len(c.failed) > 0 {
		c.t.Errorf("%d of %d calls failed, want none; the first: %v", len(c.failed), c.calls.Load(), c.failed[0])
	}
	if d := time.Duration(c.slowest.Load()); d > soon {
		c.t.Errorf("a call took %v, want at most %v", d, soon)
	}
	c.t.Logf("%d calls, the slowest took %v", c.calls.Load(), time.Duration(c.slowest.Load()))
}

// within runs f, which must return before the bound.
func within(t *testing.T, bound time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(bound):
		t.Errorf("%s takes more than %v", what, bound)
		<-done
	}
}

func newRegistry(t *testing.T, endpoints ...discovery.Endpoint) (*discovery.Registry, func(...discovery.Endpoint)) {
	t.Helper()
	registry := discovery.NewRegistry()
	set := func(endpoints ...discovery.Endpoint) {
		t.Helper()
		if err := registry.Set("users", endpoints...); err != nil {
			t.Fatal(err)
		}
	}
	set(endpoints...)
	return registry, set
}

// TestServerSaysGoodbye ends a server that nobody took out of the registry, with
// calls in flight: they finish, and new ones go elsewhere.
func TestServerSaysGoodbye(t *testing.T) {
	gate := make(chan struct{})
	var held atomic.Int64
	leaving := newBackend(t, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if held.Add(1) <= 10 {
			<-gate
		}
		return next(ctx, req)
	}))
	others, addrs := newBackends(t, 2)
	registry, set := newRegistry(t, discovery.Addrs(leaving.addr)...)
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	inFlight := make(chan error, 10)
	for range cap(inFlight) {
		go func() { inFlight <- check(context.Background(), conn) }()
	}
	eventually(t, "the calls are in flight", func() bool { return held.Load() == 10 })
	set(discovery.Addrs(append(addrs, leaving.addr)...)...)
	callUntil(t, conn, "the others are called", allCalled(others))

	load := keepChecking(t, conn, 8)
	load.more(100)
	left := make(chan struct{})
	go func() {
		defer close(left)
		leaving.leave()
	}()
	load.more(500)
	eventually(t, "no calls but those in flight are there", func() bool { return endpoint(t, mesh, leaving.addr).InFlight == 10 })
	close(gate)
	for range cap(inFlight) {
		if err := <-inFlight; err != nil {
			t.Errorf("a call in flight: %v", err)
		}
	}
	<-left
	load.more(100)
	leaving.start(t)
	before := leaving.calls.Load()
	eventually(t, "it is called again", func() bool { return leaving.calls.Load() > before })
	load.mustEnd()
}

// TestConnectionsOfLimitedAge has servers that end each connection after a
// moment. No call may be sent again by the Mesh, and none fails.
func TestConnectionsOfLimitedAge(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) {
			const age = 200 * time.Millisecond
			var conns connections
			var addrs []string
			for range servers {
				b := newBackend(t, grpc.StatsHandler(&conns),
					grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: age, MaxConnectionAgeGrace: patience}))
				addrs = append(addrs, b.addr)
			}
			mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)}, fairlead.WithoutRetry())
			load := keepChecking(t, dial(t, mesh, "fairlead:///users"), 8)
			eventually(t, "connections have ended and begun again", func() bool { return conns.begun.Load() > 10*int64(servers) })
			load.mustEnd()
			for _, addr := range addrs {
				if e := endpoint(t, mesh, addr); e.Breaker != "closed" || e.InFlight != 0 {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// connections counts those of servers.
type connections struct{ begun, ended atomic.Int64 }

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
	case *stats.ConnEnd:
		c.ended.Add(1)
	}
}

func (c *connections) open() int64 { return c.begun.Load() - c.ended.Load() }

func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                         {}

// newTarpit takes connections at addr and never says a word.
func newTarpit(t *testing.T, addr string) string {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var taking sync.WaitGroup
	var conns []net.Conn
	taking.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		taking.Wait()
		for _, conn := range conns {
			conn.Close()
		}
	})
	return listener.Addr().String()
}

// TestServerThatNeverAnswersTheHandshake is in nobody's way: at the start, when
// it joins, and in the place of a server that was good.
func TestServerThatNeverAnswersTheHandshake(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	registry, set := newRegistry(t, discovery.Addrs(newTarpit(t, anyAddr), addrs[0], addrs[1])...)
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutRetry())
	conn := dial(t, mesh, "fairlead:///users")
	load := keepChecking(t, conn, 8)
	eventually(t, "the good ones are called", allCalled(backends[:2]))
	load.more(100)
	set(discovery.Addrs(newTarpit(t, anyAddr), newTarpit(t, anyAddr), addrs[0], addrs[2])...)
	eventually(t, "the good newcomer is called", allCalled(backends[2:]))
	load.more(100)
	backends[0].leave()
	newTarpit(t, addrs[0])
	load.more(500)
	load.mustEnd()

	// Where nobody else is left, calls end at their deadlines.
	set(discovery.Addrs(newTarpit(t, anyAddr))...)
	eventually(t, "calls end at their deadline", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return status.Code(check(ctx, conn)) == codes.DeadlineExceeded
	})
	set(discovery.Addrs(addrs[1])...)
	within(t, soon, "a call after a good one is back", func() { mustCheck(t, conn, 1) })
}

// TestServerStopsInItsTracks halts a server process under load: it keeps its
// connections and answers nothing.
func TestServerStopsInItsTracks(t *testing.T) {
	processes := []*process{startProcess(t, anyAddr), startProcess(t, anyAddr), startProcess(t, anyAddr)}
	halted := processes[1]
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(processes[0].addr, halted.addr, processes[2].addr)},
		fairlead.WithRetry(onlyReads(retry.Config{AttemptTimeout: time.Second})))
	load := startLoad(t, dial(t, mesh, "fairlead:///users"), 20, reads)
	for _, p := range processes {
		load.awaitAnswers(p.id)
	}
	halted.signal(t, syscall.SIGSTOP)
	eventually(t, "its breaker opens", func() bool { return endpoint(t, mesh, halted.addr).Breaker == "open" })
	load.awaitAnswers(processes[0].id)
	load.awaitAnswers(processes[2].id)
	eventually(t, "the calls to it have ended", func() bool {
		e := endpoint(t, mesh, halted.addr)
		return e.Breaker == "open" && e.InFlight == 0
	})
	halted.signal(t, syscall.SIGCONT)
	load.awaitAnswers(halted.id)
	if e := endpoint(t, mesh, halted.addr); e.Breaker != "closed" {
		t.Errorf("%+v", e)
	}
	load.mustEnd()
}

// TestEndpointIsReplaced gives an ID another address, and an address another ID.
func TestEndpointIsReplaced(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	steady := discovery.Endpoint{ID: "steady", Addr: addrs[0]}
	registry, set := newRegistry(t, steady, discovery.Endpoint{ID: "moving", Addr: addrs[1]})
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutRetry())
	load := keepChecking(t, dial(t, mesh, "fairlead:///users"), 8)
	eventually(t, "both are called", allCalled(backends[:2]))
	follow := func(what string, to, from *backend) {
		t.Helper()
		before := to.calls.Load()
		eventually(t, what, func() bool { return to.calls.Load() > before+20 })
		if from != nil {
			eventually(t, "the old address has no more calls", func() bool {
				old := from.calls.Load()
				load.more(100)
				return from.calls.Load() == old
			})
		}
	}
	for range 5 {
		set(steady, discovery.Endpoint{ID: "moving", Addr: addrs[2]})
		follow("the new address is called", backends[2], backends[1])
		set(steady, discovery.Endpoint{ID: "renamed", Addr: addrs[2]})
		eventually(t, "the new name is known", func() bool { return endpoint(t, mesh, addrs[2]).ID == "renamed" })
		follow("the new name is called", backends[2], nil)
		set(steady, discovery.Endpoint{ID: "moving", Addr: addrs[1]})
		follow("the first address is called", backends[1], backends[2])
	}
	load.mustEnd()
}

// TestConnectionsEndWithMembership has a stream on an endpoint that leaves: its
// connection stays until the stream ends, and that of an endpoint without one goes.
func TestConnectionsEndWithMembership(t *testing.T) {
	var busy, idle connections
	streaming, unused := newBackend(t, grpc.StatsHandler(&busy)), newBackend(t, grpc.StatsHandler(&idle))
	steady := newBackend(t)
	registry, set := newRegistry(t, discovery.Addrs(streaming.addr, unused.addr, steady.addr)...)
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all are called", allCalled([]*backend{streaming, unused, steady}))
	stream, cancel := watch(t, conn, streaming, mesh)
	defer cancel()
	set(discovery.Addrs(steady.addr)...)
	eventually(t, "the unused connection ends", func() bool { return idle.open() == 0 })
	mustCheck(t, conn, 30)
	if n := busy.open(); n != 1 {
		t.Errorf("%d connections to the endpoint that has a stream, want 1", n)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v, want its own cancel", err)
	}
	eventually(t, "the last connection ends", func() bool { return busy.open() == 0 })
	set(discovery.Addrs(streaming.addr, steady.addr)...)
	before := streaming.calls.Load()
	callUntil(t, conn, "it is called when it is back", func() bool { return streaming.calls.Load() > before })
}

// TestCallsPickedJustBeforeAnEndpointLeaves has an endpoint join and leave with a
// stream on it. A call that had been picked for its connection must not wait for
// the end of the stream.
func TestCallsPickedJustBeforeAnEndpointLeaves(t *testing.T) {
	backends, addrs := newBackends(t, 2)
	registry, set := newRegistry(t, discovery.Addrs(addrs...)...)
	mesh := newMesh(t, registry, fairlead.WithBalancer(balancer.RoundRobin()))
	conn := dial(t, mesh, "fairlead:///users")
	load := keepChecking(t, conn, 8)
	load.more(10)
	for range 200 {
		set(discovery.Addrs(addrs...)...)
		eventually(t, "it has joined", func() bool { return len(mesh.Status().Services[0].Endpoints) == 2 })
		before := backends[1].calls.Load()
		eventually(t, "it is called", func() bool { return backends[1].calls.Load() > before })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 4 { // of which some are there
			stream, err := health.NewHealthClient(conn).Watch(ctx, &health.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		set(discovery.Addrs(addrs[0])...)
		eventually(t, "it has left", func() bool { return len(mesh.Status().Services[0].Endpoints) == 1 })
	}
	load.mustEnd()
}

// word is what a resolver says.
type word struct {
	snapshot discovery.Snapshot
	err      error
}

// told is a resolver that says what the test tells it.
type told chan word

func (r told) Watch(ctx context.Context, _ string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		for {
			select {
			case w := <-r:
				if !yield(w.snapshot, w.err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (r told) endpoints(addrs ...string) {
	r <- word{snapshot: discovery.Snapshot{Endpoints: discovery.Addrs(addrs...)}}
}

func TestResolverFails(t *testing.T) {
	const reason = "the registry burns"
	errBurns := errors.New(reason)
	b := newBackend(t)
	resolver := make(told)
	mesh := newMesh(t, resolver, fairlead.WithEmptyHold(time.Millisecond))
	conn := dial(t, mesh, "fairlead:///users")
	waits := make(chan error, 1)
	go func() { waits <- check(context.Background(), conn, grpc.WaitForReady(true)) }()
	resolver <- word{err: errBurns}
	resolver <- word{err: errBurns}
	err := check(t.Context(), conn)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), `"users"`) {
		t.Errorf("before the first snapshot: %v", err)
	}
	select {
	case err := <-waits:
		t.Errorf("the call that waits: %v", err)
	default:
	}
	resolver.endpoints(b.addr)
	if err := <-waits; err != nil {
		t.Errorf("the call that waits: %v", err)
	}
	mustCheck(t, conn, 10)

	// What is known stays known.
	resolver <- word{err: errBurns}
	eventually(t, "the error is in the status", func() bool { return strings.Contains(mesh.Status().Services[0].ResolverError, reason) })
	mustCheck(t, conn, 10)

	for range 3 {
		resolver.endpoints()
		callUntil(t, conn, "the empty set is believed", func() bool {
			err = check(t.Context(), conn)
			return err != nil
		})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), balancer.ErrNoEndpoints.Error()) {
			t.Errorf("with nobody: %v", err)
		}
		go func() { waits <- check(context.Background(), conn, grpc.WaitForReady(true)) }()
		resolver.endpoints(b.addr)
		if err := <-waits; err != nil {
			t.Errorf("the call that waits: %v", err)
		}
		mustCheck(t, conn, 10)
	}
}

// TestChangesWhileIdle changes the set while the ClientConn is in idle mode: the
// Mesh follows all the same, or, where it has let the service go, looks it up
// again.
func TestChangesWhileIdle(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []fairlead.Option
		gone bool
	}{
		{"watched", nil, false},
		{"let go", []fairlead.Option{fairlead.WithServiceIdle(30 * time.Millisecond)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			backends, addrs := newBackends(t, 2)
			registry, set := newRegistry(t)
			mesh := newMesh(t, registry, append(test.opts, fairlead.WithEmptyHold(time.Millisecond))...)
			conn := dial(t, mesh, "fairlead:///users", grpc.WithIdleTimeout(50*time.Millisecond))
			for range 4 {
				for i, b := range backends {
					set(discovery.Addrs(addrs[i])...)
					if len(mesh.Status().Services) > 0 {
						eventually(t, "the Mesh follows", func() bool {
							services := mesh.Status().Services
							return len(services) == 0 || len(services[0].Endpoints) == 1 && services[0].Endpoints[0].Addr == addrs[i]
						})
					}
					before := b.calls.Load()
					within(t, soon, "a call after idle mode", func() { mustCheck(t, conn, 3) })
					if n := b.calls.Load() - before; n != 3 {
						t.Errorf("%d calls reached the new endpoint, want 3", n)
					}
					eventually(t, "idle", func() bool { return conn.GetState() == connectivity.Idle })
					if test.gone {
						eventually(t, "the service is let go", func() bool { return len(mesh.Status().Services) == 0 })
					}
				}
			}
		})
	}
}

// TestClientConnClosesWhileCallsWait has calls that wait for a connection, for
// a breaker, and for the resolver.
func TestClientConnClosesWhileCallsWait(t *testing.T) {
	registry, _ := newRegistry(t)
	for name, resolver := range map[string]discovery.Resolver{
		"for an endpoint":   registry,
		"for a connection":  discovery.Services{"users": discovery.Addrs(newTarpit(t, anyAddr))},
		"for the resolver":  make(told),
		"for a new attempt": discovery.Services{"users": discovery.Addrs("127.0.0.1:1")},
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, resolver)
			conn := dial(t, mesh, "fairlead:///users")
			var waiting sync.WaitGroup
			for range 50 {
				waiting.Go(func() {
					if err := check(context.Background(), conn, grpc.WaitForReady(true)); status.Code(err) != codes.Canceled {
						t.Errorf("%v", err)
					}
				})
			}
			eventually(t, "the ClientConn is in use", func() bool { return len(mesh.Status().Services) > 0 })
			within(t, soon, "to close", func() {
				conn.Close()
				waiting.Wait()
			})
			for _, s := range mesh.Status().Services {
				if s.InFlight != 0 {
					t.Errorf("the service is still held %d times", s.InFlight)
				}
			}
		})
	}
}

// TestMeshClosesUnderLoad has calls that follow each other, and calls and a
// stream that are in flight for long: those the Mesh leaves to their connections.
func TestMeshClosesUnderLoad(t *testing.T) {
	gate := make(chan struct{})
	var held atomic.Int64
	slow := newBackend(t, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		held.Add(1)
		<-gate
		return next(ctx, req)
	}))
	_, addrs := newBackends(t, 2)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...), "slow": discovery.Addrs(slow.addr)})
	users, slows := dial(t, mesh, "fairlead:///users"), dial(t, mesh, "fairlead:///slow")
	mustCheck(t, users, 10)
	const callers = 8
	var quick, inFlight sync.WaitGroup
	for range callers {
		quick.Go(func() {
			err := error(nil)
			for err == nil {
				err = check(context.Background(), users)
			}
			if status.Code(err) != codes.Unavailable || !errors.Is(err, fairlead.ErrClosed) {
				t.Errorf("%v", err)
			}
		})
		inFlight.Go(func() {
			if err := check(context.Background(), slows); err != nil {
				t.Errorf("a call in flight: %v", err)
			}
		})
	}
	stream, err := health.NewHealthClient(users).Watch(t.Context(), &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slow calls are in flight", func() bool { return held.Load() == callers })
	within(t, soon, "to close", func() {
		if err := mesh.Close(); err != nil {
			t.Error(err)
		}
		quick.Wait()
	})
	close(gate)
	within(t, soon, "to end what was in flight", inFlight.Wait)
	users.Close()
	if m, err := stream.Recv(); err == nil { // gRPC says Canceled, or Unavailable
		t.Errorf("the stream goes on: %v", m)
	}
}

// TestMeshClosesWhileCallsWait has calls that no deadline would end.
func TestMeshClosesWhileCallsWait(t *testing.T) {
	empty, _ := newRegistry(t)
	broken := newBackend(t)
	broken.code.Store(uint32(codes.Unavailable))
	for _, test := range []struct {
		name     string
		resolver discovery.Resolver
		broken   bool
	}{
		{"for an endpoint", empty, false},
		{"for the name", discovery.NewRegistry(), false},
		{"for the resolver", make(told), false},
		{"for a connection", discovery.Services{"users": discovery.Addrs(newTarpit(t, anyAddr))}, false},
		{"for the next connection", discovery.Services{"users": discovery.Addrs("127.0.0.1:1")}, false},
		{"for a breaker", discovery.Services{"users": discovery.Addrs(broken.addr)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			mesh := newMesh(t, test.resolver, fairlead.WithBreaker(breaker.Config{OpenFor: time.Hour, MaxOpenFor: time.Hour}))
			conn := dial(t, mesh, "fairlead:///users")
			if test.broken {
				callUntil(t, conn, "the breaker opens", func() bool { return endpoint(t, mesh, broken.addr).Breaker == "open" })
			}
			const callers = 20
			var begun, waiting sync.WaitGroup
			begun.Add(callers)
			for range callers {
				waiting.Go(func() {
					begun.Done()
					if err := check(context.Background(), conn, grpc.WaitForReady(true)); status.Code(err) != codes.Unavailable || !errors.Is(err, fairlead.ErrClosed) {
						t.Errorf("%v", err)
					}
				})
			}
			begun.Wait()
			within(t, soon, "to close", func() {
				if err := mesh.Close(); err != nil {
					t.Error(err)
				}
				waiting.Wait()
			})
		})
	}
}

// TestDeprecatedDialThatBlocks waits for a connection until its deadline.
func TestDeprecatedDialThatBlocks(t *testing.T) {
	b := newBackend(t)
	registry := discovery.NewRegistry()
	mesh := newMesh(t, registry)
	connect := func(within time.Duration) (*grpc.ClientConn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		//lint:ignore SA1019 it is deprecated and in use
		opts := append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithBlock()) //nolint:staticcheck // deprecated and in use
		//lint:ignore SA1019 it is deprecated and in use
		return grpc.DialContext(ctx, "fairlead:///users", opts...) //nolint:staticcheck // deprecated and in use
	}
	if conn, err := connect(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with no such service: %v, %v", conn, err)
	}
	set := make(chan error, 1)
	go func() { set <- registry.Set("users", discovery.Addrs(b.addr)...) }()
	conn, err := connect(patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-set; err != nil {
		t.Fatal(err)
	}
	if s := conn.GetState(); s != connectivity.Ready {
		t.Errorf("the ClientConn is %v", s)
	}
	mustCheck(t, conn, 3)
}

// TestClientConnIsOlderThanItsService has a ClientConn that was told to connect
// before anybody served the name: calls that do not wait get through soon after.
func TestClientConnIsOlderThanItsService(t *testing.T) {
	b := newBackend(t)
	registry := discovery.NewRegistry()
	mesh := newMesh(t, registry)
	conn := dial(t, mesh, "fairlead:///users")
	conn.Connect()
	eventually(t, "the ClientConn says that it failed", func() bool { return conn.GetState() == connectivity.TransientFailure })
	if err := registry.Set("users", discovery.Addrs(b.addr)...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a call gets through", func() bool { return check(t.Context(), conn) == nil })
	mustCheck(t, conn, 10)
}

func TestCallsThatWaitKeepTheirDeadlines(t *testing.T) {
	b := newBackend(t)
	b.code.Store(uint32(codes.Unavailable))
	empty, _ := newRegistry(t)
	for _, test := range []struct {
		name     string
		resolver discovery.Resolver
		broken   bool
	}{
		{"no endpoint", empty, false},
		{"no such name", discovery.NewRegistry(), false},
		{"no connection", discovery.Services{"users": discovery.Addrs(newTarpit(t, anyAddr), "127.0.0.1:1")}, false},
		{"no first word", make(told), false},
		{"breaker open", discovery.Services{"users": discovery.Addrs(b.addr)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			mesh := newMesh(t, test.resolver, fairlead.WithBreaker(breaker.Config{OpenFor: time.Hour, MaxOpenFor: time.Hour}))
			conn := dial(t, mesh, "fairlead:///users")
			if test.broken {
				callUntil(t, conn, "the breaker opens", func() bool { return endpoint(t, mesh, b.addr).Breaker == "open" })
			}
			const wait = 100 * time.Millisecond
			began := time.Now()
			var calls sync.WaitGroup
			for range 20 {
				calls.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), wait)
					defer cancel()
					err := check(ctx, conn, grpc.WaitForReady(true))
					if status.Code(err) != codes.DeadlineExceeded {
						t.Errorf("%v", err)
					}
				})
			}
			calls.Wait()
			if d := time.Since(began); d < wait || d > soon {
				t.Errorf("it took %v, want about %v", d, wait)
			}
		})
	}
}

// TestCanceledCallersByTheHundred are unary and streaming callers who leave, of
// three servers on which others call in peace.
func TestCanceledCallersByTheHundred(t *testing.T) {
	backends, addrs := newBackends(t, 3)
	slow, slowAddrs := newBackends(t, 1)
	slow[0].held.Store(true)
	mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...), "slow": discovery.Addrs(slowAddrs...)},
		checksMay(retry.Config{AttemptTimeout: time.Hour}))
	conn := dial(t, mesh, "fairlead:///users")
	callUntil(t, conn, "all three are called", allCalled(backends))
	load := keepChecking(t, conn, 4)

	const callers = 300
	client, slowClient := health.NewHealthClient(conn), health.NewHealthClient(dial(t, mesh, "fairlead:///slow"))
	ctx, cancel := context.WithCancelCause(t.Context())
	var gone sync.WaitGroup
	var streaming atomic.Int64
	for range callers {
		gone.Go(func() {
			if _, err := slowClient.Check(ctx, &health.HealthCheckRequest{}); status.Code(err) != codes.Canceled {
				t.Errorf("a unary call: %v", err)
			}
		})
		gone.Go(func() {
			stream, err := client.Watch(ctx, &health.HealthCheckRequest{})
			for err == nil {
				if _, err = stream.Recv(); err == nil {
					streaming.Add(1)
				}
			}
			if status.Code(err) != codes.Canceled {
				t.Errorf("a stream: %v", err)
			}
		})
	}
	eventually(t, "all calls are in flight", func() bool { return slow[0].waiting.Load() == callers && streaming.Load() == callers })
	cancel(errors.New("gone"))
	within(t, soon, "to be canceled", gone.Wait)
	load.more(100)
	load.mustEnd()
	for _, addr := range append(addrs, slowAddrs...) {
		eventually(t, "nothing is in flight", func() bool { return endpoint(t, mesh, addr).InFlight == 0 })
		if e := endpoint(t, mesh, addr); e.Breaker != "closed" || e.State != balancer.Ready {
			t.Errorf("%+v", e)
		}
	}
}
