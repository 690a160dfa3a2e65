package grpcbalancer

import (
	"context"
	"testing"
	"unsafe"

	"google.golang.org/grpc"
	lb "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
)

// connected is the picker of a link that has a connection.
type connected struct{ sub lb.SubConn }

func (c connected) Pick(lb.PickInfo) (lb.PickResult, error) {
	return lb.PickResult{SubConn: c.sub}, nil
}

// newPicker returns a picker over links that are connected to nothing, so that
// nothing is measured but ours, and the interceptors of the same Mesh with a
// ClientConn of theirs.
func newPicker(tb testing.TB, opts ...fairlead.Option) (*picker, *interceptors, *grpc.ClientConn) {
	tb.Helper()
	mesh, err := fairlead.New(discovery.Services{"users": discovery.Addrs("a:1", "b:1", "c:1")}, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { mesh.Close() })
	if err := mesh.Ready(tb.Context(), "users"); err != nil {
		tb.Fatal(err)
	}
	service, err := mesh.Hold("users")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(service.Close)
	p := policyBuilder{}.Build(nil, lb.BuildOptions{}).(*policy)
	p.service = service
	all := links{}
	for _, n := range service.Balancer().Nodes() {
		l := &link{policy: p}
		l.state.Store(&lb.State{ConnectivityState: connectivity.Ready, Picker: connected{struct{ lb.SubConn }{}}})
		all[n] = l
	}
	p.links.Store(&all)
	p.view = service.Balancer().View(p.connected)
	tb.Cleanup(p.view.Close)
	conn, err := grpc.NewClient("fairlead:///users", append(DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return &picker{policy: p}, &interceptors{mesh: mesh}, conn
}

// The call is the largest thing that we allocate, and larger ones take longer.
func TestCallFitsItsAllocation(t *testing.T) {
	const most = 512
	if size := unsafe.Sizeof(call{}); size > most {
		t.Errorf("a call has %d bytes, want at most %d", size, most)
	}
}

const method = "/grpc.health.v1.Health/Check"

// attemptOnce is an attempt that goes well, as gRPC makes it.
func attemptOnce(ctx context.Context, tb testing.TB, p *picker) {
	r, err := p.Pick(lb.PickInfo{FullMethodName: method, Ctx: ctx})
	if err != nil {
		tb.Fatal(err)
	}
	r.Done(lb.DoneInfo{BytesSent: true, BytesReceived: true})
}

func TestPickAllocatesNothing(t *testing.T) {
	for name, opts := range map[string][]fairlead.Option{"breaker": nil, "none": {fairlead.WithoutBreaker()}} {
		t.Run(name, func(t *testing.T) {
			p, i, conn := newPicker(t, opts...)
			c, err := i.begin(context.Background(), conn, method, false, false)
			if err != nil {
				t.Fatal(err)
			}
			defer c.end(nil)
			for name, ctx := range map[string]context.Context{"call": c, "no call": context.Background()} {
				allowed := 0.0
				if RaceEnabled {
					allowed = 1
				}
				if got := testing.AllocsPerRun(500, func() { attemptOnce(ctx, t, p) }); got > allowed {
					t.Errorf("%s: a pick and its end allocate %v times, want at most %v", name, got, allowed)
				}
			}
		})
	}
}

// BenchmarkOurs is what a call costs apart from gRPC's part.
func BenchmarkOurs(b *testing.B) {
	p, i, conn := newPicker(b)
	ctx := context.Background()
	b.Run("pick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			attemptOnce(ctx, b, p)
		}
	})
	b.Run("call", func(b *testing.B) {
		invoke := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			attemptOnce(ctx, b, p)
			return nil
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := i.unary(ctx, method, nil, nil, conn, invoke); err != nil {
				b.Fatal(err)
			}
		}
	})
}
