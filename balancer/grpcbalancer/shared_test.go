package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/consultest"
	"github.com/fairlead-go/fairlead/retry"
)

// checksMay is a retry configuration by which the calls of check may be sent
// again.
func checksMay(config retry.Config) fairlead.ServiceOption {
	config.Safe = func(_ context.Context, _, path string) bool { return path == health.Health_Check_FullMethodName }
	return fairlead.WithRetry(config)
}

// get makes a call by HTTP, and returns the status of the answer.
func get(t *testing.T, mesh *fairlead.Mesh) int {
	t.Helper()
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func newDuals(t *testing.T, n int) (duals []*dual, addrs []string) {
	t.Helper()
	for range n {
		d := newDual(t)
		duals, addrs = append(duals, d), append(addrs, d.addr)
	}
	return duals, addrs
}

// counter stands before a Consul agent and counts who asks for "users".
type counter struct {
	addr    string
	queries atomic.Int64
	open    atomic.Int64
	most    atomic.Int64 // that were open at a time
}

func newCounter(t *testing.T, agent *consultest.Agent) *counter {
	t.Helper()
	c := &counter{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.Addr})
	transport := &http.Transport{}
	proxy.Transport, proxy.ErrorLog = transport, log.New(io.Discard, "", 0) // the last query is canceled
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/health/service/users" {
			c.queries.Add(1)
			open := c.open.Add(1)
			defer c.open.Add(-1)
			for most := c.most.Load(); open > most; most = c.most.Load() {
				c.most.CompareAndSwap(most, open)
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	c.addr = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return c
}

// TestOneWatchForBothProtocols counts what a real agent is asked: three
// ClientConns beside HTTP's callers add nothing.
func TestOneWatchForBothProtocols(t *testing.T) {
	agent := consultest.Start(t)
	count := newCounter(t, agent)
	duals, _ := newDuals(t, 2)
	register := func(i, weight int) {
		t.Helper()
		ip, port, err := net.SplitHostPort(duals[i].addr)
		if err != nil {
			t.Fatal(err)
		}
		number, _ := strconv.Atoi(port)
		if err := agent.Client.Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: "users-" + strconv.Itoa(i), Name: "users", Address: ip, Port: number,
			Weights: &api.AgentWeights{Passing: weight, Warning: 1},
		}); err != nil {
			t.Fatal(err)
		}
	}
	register(0, 1)
	register(1, 1)
	mesh := consulMesh(t, count.addr)

	var over atomic.Bool
	var callers sync.WaitGroup
	defer callers.Wait()
	defer over.Store(true)
	keep := func(call func() error) {
		callers.Go(func() {
			for !over.Load() {
				if err := call(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		keep(func() error {
			resp, err := mesh.Client().Get("http://users/")
			if err == nil {
				resp.Body.Close()
			}
			return err
		})
	}
	eventually(t, "HTTP calls both", func() bool { return duals[0].requests.Load() > 0 && duals[1].requests.Load() > 0 })
	eventually(t, "a query waits for news", func() bool { return count.open.Load() == 1 && count.queries.Load() > 1 })

	weight := 1
	follow := func(changes int) int64 {
		t.Helper()
		before := count.queries.Load()
		for range changes {
			weight++
			register(0, weight)
			eventually(t, "the weight arrives", func() bool { return endpoint(t, mesh, duals[0].addr).Weight == weight })
			eventually(t, "a query waits for news", func() bool { return count.open.Load() == 1 })
		}
		return count.queries.Load() - before
	}
	const changes = 20
	alone := follow(changes)
	before := count.queries.Load()
	for range 3 {
		conn := dial(t, mesh, "fairlead:///users")
		keep(func() error { return check(t.Context(), conn) })
	}
	eventually(t, "gRPC calls both", func() bool { return duals[0].calls.Load() > 0 && duals[1].calls.Load() > 0 })
	if n := count.queries.Load() - before; n != 0 {
		t.Errorf("three ClientConns asked the agent %d times, want never", n)
	}
	both := follow(changes)
	t.Logf("%d changes cost %d queries with HTTP alone, %d with three ClientConns beside it", changes, alone, both)
	// Each change ends a query and begins one; a second watch would double that.
	if both > alone+changes/4 {
		t.Errorf("%d changes cost %d queries, want %d as with HTTP alone", changes, both, alone)
	}
	if n := count.most.Load(); n != 1 {
		t.Errorf("%d queries were open at a time, want 1", n)
	}
}

// TestProbeOfOneProtocolServesBoth breaks an endpoint by one protocol, lets it
// recover, and has only the other protocol call until it is back.
func TestProbeOfOneProtocolServesBoth(t *testing.T) {
	setup := func(t *testing.T) ([]*dual, *fairlead.Mesh, *grpc.ClientConn) {
		duals, addrs := newDuals(t, 3)
		mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)},
			fairlead.WithBalancer(balancer.RoundRobin()), checksMay(retry.Config{}))
		conn := dial(t, mesh, "fairlead:///users")
		callUntil(t, conn, "all three are called", func() bool {
			return duals[0].calls.Load() > 0 && duals[1].calls.Load() > 0 && duals[2].calls.Load() > 0
		})
		return duals, mesh, conn
	}
	state := func(t *testing.T, mesh *fairlead.Mesh, d *dual) string {
		t.Helper()
		return endpoint(t, mesh, d.addr).Breaker
	}

	t.Run("found broken by HTTP, brought back by gRPC", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		bad := duals[1]
		bad.status.Store(http.StatusServiceUnavailable)
		eventually(t, "its breaker opens", func() bool { get(t, mesh); return state(t, mesh, bad) == "open" })
		for before := bad.calls.Load(); ; before = bad.calls.Load() {
			mustCheck(t, conn, 1)
			if state(t, mesh, bad) != "open" {
				break
			}
			if bad.calls.Load() > before {
				t.Error("a call by gRPC while the breaker was open")
			}
		}
		callUntil(t, conn, "a probe by gRPC brings it back", func() bool { return state(t, mesh, bad) == "closed" })
		bad.status.Store(http.StatusOK)
		before := bad.requests.Load()
		for range 30 {
			if code := get(t, mesh); code != http.StatusOK {
				t.Errorf("HTTP %d", code)
			}
		}
		if n := bad.requests.Load() - before; n < 5 {
			t.Errorf("%d of 30 requests went there, want about 10", n)
		}
	})
	t.Run("found broken by gRPC, brought back by HTTP", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		bad := duals[1]
		bad.code.Store(uint32(codes.Unavailable))
		callUntil(t, conn, "its breaker opens", func() bool { return state(t, mesh, bad) == "open" })
		for before := bad.requests.Load(); ; before = bad.requests.Load() {
			if code := get(t, mesh); code != http.StatusOK {
				t.Errorf("HTTP %d", code)
			}
			if state(t, mesh, bad) != "open" {
				break
			}
			if bad.requests.Load() > before {
				t.Error("a request by HTTP while the breaker was open")
			}
		}
		eventually(t, "a probe by HTTP brings it back", func() bool { get(t, mesh); return state(t, mesh, bad) == "closed" })
		bad.code.Store(uint32(codes.OK))
		before := bad.calls.Load()
		mustCheck(t, conn, 30)
		if n := bad.calls.Load() - before; n < 5 {
			t.Errorf("%d of 30 calls went there, want about 10", n)
		}
	})
}

// TestOneRetryBudget spends the budget by one protocol, so that the other has none.
func TestOneRetryBudget(t *testing.T) {
	const burst = 4
	setup := func(t *testing.T) ([]*dual, *fairlead.Mesh, *grpc.ClientConn) {
		duals, addrs := newDuals(t, 3)
		mesh := newMesh(t, discovery.Services{"users": discovery.Addrs(addrs...)},
			fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker(),
			checksMay(retry.Config{Budget: retry.Budget{Ratio: 1e-9, Burst: burst, PerSecond: -1}}))
		conn := dial(t, mesh, "fairlead:///users")
		callUntil(t, conn, "all three are called", func() bool {
			return duals[0].calls.Load() > 0 && duals[1].calls.Load() > 0 && duals[2].calls.Load() > 0
		})
		for _, d := range duals {
			d.status.Store(http.StatusServiceUnavailable)
			d.code.Store(uint32(codes.Unavailable))
		}
		return duals, mesh, conn
	}
	sum := func(duals []*dual, of func(*dual) int64) (n int64) {
		for _, d := range duals {
			n += of(d)
		}
		return n
	}
	attempts := func(t *testing.T, duals []*dual, of func(*dual) int64, call func(), want int64) {
		t.Helper()
		before := sum(duals, of)
		call()
		if n := sum(duals, of) - before; n != want {
			t.Errorf("%d attempts, want %d", n, want)
		}
	}
	byHTTP := func(d *dual) int64 { return d.requests.Load() }
	byGRPC := func(d *dual) int64 { return d.calls.Load() }
	left := func(mesh *fairlead.Mesh) float64 { return mesh.Status().Services[0].RetryBudget }
	mustFail := func(t *testing.T, conn *grpc.ClientConn, refused bool) {
		t.Helper()
		if err := check(t.Context(), conn); status.Code(err) != codes.Unavailable || errors.Is(err, retry.ErrBudget) != refused {
			t.Errorf("%v, want one that names the budget: %t", err, refused)
		}
	}

	t.Run("spent by HTTP", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		attempts(t, duals, byGRPC, func() { mustFail(t, conn, false) }, 2)
		for range burst - 1 {
			attempts(t, duals, byHTTP, func() { get(t, mesh) }, 2)
		}
		if n := left(mesh); n != 0 {
			t.Errorf("%v retries left, want none", n)
		}
		for range 5 {
			attempts(t, duals, byGRPC, func() { mustFail(t, conn, true) }, 1)
		}
	})
	t.Run("spent by gRPC", func(t *testing.T) {
		duals, mesh, conn := setup(t)
		attempts(t, duals, byHTTP, func() { get(t, mesh) }, 2)
		for range burst - 1 {
			attempts(t, duals, byGRPC, func() { mustFail(t, conn, false) }, 2)
		}
		if n := left(mesh); n != 0 {
			t.Errorf("%v retries left, want none", n)
		}
		for range 5 {
			attempts(t, duals, byHTTP, func() { get(t, mesh) }, 1)
		}
	})
}
