package interop_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
)

// service is the name in the servers' certificate.
const service = "example.com"

// patience is how long a case may last, and what must come may be late.
const patience = 30 * time.Second

type testCase struct {
	name string
	run  func(context.Context, *grpc.ClientConn)
}

// cases are those that any policy has to pass.
var cases = []testCase{
	{"DoEmptyUnaryCall", client(interop.DoEmptyUnaryCall)},
	{"DoLargeUnaryCall", client(interop.DoLargeUnaryCall)},
	{"DoClientStreaming", client(interop.DoClientStreaming)},
	{"DoServerStreaming", client(interop.DoServerStreaming)},
	{"DoPingPong", client(interop.DoPingPong)},
	{"DoEmptyStream", client(interop.DoEmptyStream)},
	{"DoTimeoutOnSleepingServer", client(interop.DoTimeoutOnSleepingServer)},
	{"DoCancelAfterBegin", client(interop.DoCancelAfterBegin)},
	{"DoCancelAfterFirstResponse", client(interop.DoCancelAfterFirstResponse)},
	{"DoCustomMetadata", client(interop.DoCustomMetadata)},
	{"DoStatusCodeAndMessage", client(interop.DoStatusCodeAndMessage)},
	{"DoSpecialStatusMessage", client(interop.DoSpecialStatusMessage)},
	{"DoUnimplementedService", func(ctx context.Context, conn *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(conn))
	}},
	{"DoUnimplementedMethod", interop.DoUnimplementedMethod},
	{"DoSoakTest", soak},
}

// elsewhere are the cases that have a test of their own here, or none, and why.
var elsewhere = map[string]string{
	"DoPickFirstUnary":                  "TestPickFirstUnary: only calls that belong together go to one server",
	"DoComputeEngineCreds":              "needs a machine of Google Compute Engine",
	"DoComputeEngineChannelCredentials": "needs a machine of Google Compute Engine",
	"DoGoogleDefaultCredentials":        "needs an account of Google Cloud",
	"DoServiceAccountCreds":             "needs an account of Google Cloud",
	"DoJWTTokenCreds":                   "needs an account of Google Cloud",
	"DoOauth2TokenCreds":                "needs an account of Google Cloud",
	"DoPerRPCCreds":                     "needs an account of Google Cloud",
	"DoORCAPerRPCTest":                  "needs a load balancing policy of its own, in the place of ours",
	"DoORCAOOBTest":                     "needs a load balancing policy of its own, in the place of ours",
}

func client(run func(context.Context, testpb.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, conn *grpc.ClientConn) { run(ctx, testpb.NewTestServiceClient(conn)) }
}

// soak is large unary calls of several callers at once. None may fail.
func soak(ctx context.Context, conn *grpc.ClientConn) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize:                      271828,
		ResponseSize:                     314159,
		PerIterationMaxAcceptableLatency: patience,
		OverallTimeout:                   patience,
		ServerAddr:                       conn.Target(),
		NumWorkers:                       4,
		Iterations:                       40,
		ChannelForTest:                   func() (*grpc.ClientConn, func()) { return conn, func() {} },
	})
}

func TestCases(t *testing.T) {
	policies := []struct {
		name string
		opts []fairlead.Option
	}{
		{"default policy", nil},
		{"round robin", []fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin())}},
	}
	for _, tt := range policies {
		for _, secure := range []bool{false, true} {
			name := tt.name
			if secure {
				name += " over TLS"
			}
			t.Run(name, func(t *testing.T) {
				f := newFleet(t, secure, tt.opts...)
				for _, c := range cases {
					f.run(t.Context(), t, c.name, c.run)
				}
				f.verify(t)
				if calls := f.calls(); slices.Min(calls) == 0 {
					t.Errorf("the servers were called %v times", calls)
				}
			})
		}
	}
}

// Calls that belong together go to one server, though three are there.
func TestPickFirstUnary(t *testing.T) {
	pickFirst := client(func(ctx context.Context, c testpb.TestServiceClient, _ ...grpc.CallOption) {
		interop.DoPickFirstUnary(ctx, c)
	})
	t.Run("of one user", func(t *testing.T) {
		f := newFleet(t, false, fairlead.WithBalancer(balancer.IPHash()))
		user := balancer.WithClientIP(t.Context(), netip.MustParseAddr("192.0.2.7"))
		f.run(user, t, "DoPickFirstUnary", pickFirst)
		f.verify(t)
		if calls := slices.Sorted(slices.Values(f.calls())); !slices.Equal(calls, []int64{0, 0, 100}) {
			t.Errorf("the servers were called %v times", calls)
		}
	})
	t.Run("pinned to an endpoint", func(t *testing.T) {
		f := newFleet(t, false)
		pinned := fairlead.WithOverride(t.Context(), fairlead.Override{Endpoint: f.servers[1].addr})
		f.run(pinned, t, "DoPickFirstUnary", pickFirst)
		f.verify(t)
		if calls := f.calls(); !slices.Equal(calls, []int64{0, 100, 0}) {
			t.Errorf("the servers were called %v times, want only the second to be", calls)
		}
	})
}

// A newer grpc-go may have more cases.
func TestEveryCaseIsKnown(t *testing.T) {
	known := slices.Collect(maps.Keys(elsewhere))
	for _, c := range cases {
		known = append(known, c.name)
	}
	slices.Sort(known)
	if exported := exportedCases(t); !slices.Equal(known, exported) {
		t.Errorf("known:    %v\nexported: %v", known, exported)
	}
}

// exportedCases returns the names of grpc-go's cases, sorted.
func exportedCases(t *testing.T) (names []string) {
	t.Helper()
	one := reflect.ValueOf(interop.DoPingPong).Pointer()
	linked, _ := runtime.FuncForPC(one).FileLine(one)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(linked), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Do") {
				names = append(names, f.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// fleet is three servers behind one ClientConn.
type fleet struct {
	mesh    *fairlead.Mesh
	conn    *grpc.ClientConn
	servers []*server
}

// newFleet returns one that is connected to all three.
func newFleet(t *testing.T, secure bool, opts ...fairlead.Option) *fleet {
	t.Helper()
	server, client := []grpc.ServerOption(nil), insecure.NewCredentials()
	if secure {
		cert, pool := certificate()
		server = append(server, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
		client = credentials.NewClientTLSFromCert(pool, "")
	}
	f := &fleet{}
	var addrs []string
	for range 3 {
		s := newServer(t, server...)
		f.servers, addrs = append(f.servers, s), append(addrs, s.addr)
	}
	opts = append(opts,
		fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}), // no case is a server's failure
		fairlead.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	mesh, err := fairlead.New(discovery.Services{service: discovery.Addrs(addrs...)}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mesh.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("fairlead:///"+service, append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(client))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f.mesh, f.conn = mesh, conn
	f.connect(t)
	return f
}

// connect calls, for one user after the other, until each server was called. No
// call is counted.
func (f *fleet) connect(t *testing.T) {
	t.Helper()
	ip := netip.MustParseAddr("198.51.100.1")
	eventually(t, "all three servers are called", func() bool {
		ip = ip.Next()
		if _, err := testpb.NewTestServiceClient(f.conn).EmptyCall(balancer.WithClientIP(t.Context(), ip), &testpb.Empty{}); err != nil {
			t.Fatal(err)
		}
		return slices.Min(f.calls()) > 0
	})
	for _, s := range f.servers {
		s.calls.Store(0)
	}
}

// run runs a case as a test of its own. The case ends it where it fails.
func (f *fleet) run(ctx context.Context, t *testing.T, name string, run func(context.Context, *grpc.ClientConn)) {
	t.Run(name, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		running.Store(t)
		defer running.Store(nil)
		run(ctx, f.conn)
	})
}

// verify checks that the cases left nothing behind.
func (f *fleet) verify(t *testing.T) {
	t.Helper()
	status := func() fairlead.ServiceStatus { return f.mesh.Status().Services[0] }
	eventually(t, "nothing is in flight", func() bool {
		s := status()
		return s.InFlight == 0 && !slices.ContainsFunc(s.Endpoints, func(e fairlead.EndpointStatus) bool { return e.InFlight != 0 })
	})
	for _, e := range status().Endpoints {
		if e.Breaker != "closed" || e.State != balancer.Ready {
			t.Errorf("%+v", e)
		}
	}
	if n := len(status().Endpoints); n != len(f.servers) {
		t.Errorf("%d endpoints, want %d", n, len(f.servers))
	}
}

// calls returns how often each server was called.
func (f *fleet) calls() (calls []int64) {
	for _, s := range f.servers {
		calls = append(calls, s.calls.Load())
	}
	return calls
}

func eventually(t *testing.T, what string, done func() bool) {
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
