package grpcbalancer_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

var hedgeSoon = fairlead.WithHedge(retry.Hedge{After: 20 * time.Millisecond})

// One of three backends never answers: every call is answered by another, with
// that one's reply, header, trailer and peer, and no endpoint is blamed.
func TestHedge(t *testing.T) {
	f := newFleet(t, 3, hedgeSoon)
	stuck := f.backends[0]
	stuck.held.Store(true)
	defer stuck.held.Store(false)
	for i := range 30 {
		var header, trailer metadata.MD
		var from peer.Peer
		ctx, cancel := context.WithTimeout(allowed(t.Context()), patience)
		reply, err := health.NewHealthClient(f.conn).Check(ctx, &health.HealthCheckRequest{},
			grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
		cancel()
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		if reply.Status != health.HealthCheckResponse_SERVING {
			t.Errorf("call %d: the reply is %v", i, reply)
		}
		if len(header.Get("content-type")) != 1 {
			t.Errorf("call %d: the header is %v", i, header)
		}
		if addr := from.Addr.(*net.TCPAddr).String(); addr == stuck.addr {
			t.Errorf("call %d: the peer is the one that did not answer", i)
		}
	}
	if n := stuck.calls.Load(); n < 5 {
		t.Errorf("the backend that does not answer had %d calls", n)
	}
	f.idle(t)
	if e := f.endpoint(t, stuck); e.State != balancer.Ready {
		t.Errorf("the endpoint whose attempts were cancelled is %s, want ready", e.State)
	}
}

// What the second says counts where it is an answer, and not where it is a failure.
func TestHedgeAnswers(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second codes.Code
		wait          time.Duration // of the first
		want          codes.Code
	}{
		{"the second answers with an error of the application's", codes.OK, codes.NotFound, patience, codes.NotFound},
		{"the second fails", codes.OK, codes.Unavailable, 300 * time.Millisecond, codes.OK},
		{"the first fails late", codes.Unavailable, codes.OK, 100 * time.Millisecond, codes.OK},
		{"both fail", codes.Unavailable, codes.Unavailable, 100 * time.Millisecond, codes.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, 2, hedgeSoon)
			var mu sync.Mutex
			calls := 0
			f.each(func(b *backend) {
				b.does(func(ctx context.Context) error {
					mu.Lock()
					calls++
					first := calls == 1
					mu.Unlock()
					if !first {
						return status.Error(tt.second, "second")
					}
					timer := time.NewTimer(tt.wait)
					defer timer.Stop()
					select {
					case <-ctx.Done():
					case <-timer.C:
					}
					return status.Error(tt.first, "first")
				})
			})
			ctx, cancel := context.WithTimeout(allowed(t.Context()), patience)
			defer cancel()
			if err := check(ctx, f.conn); status.Code(err) != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			f.idle(t)
		})
	}
}

// Calls that must not be repeated, and streams, are not hedged.
func TestNotHedged(t *testing.T) {
	f := newFleet(t, 2, hedgeSoon)
	f.each(func(b *backend) {
		b.does(func(context.Context) error { time.Sleep(60 * time.Millisecond); return nil })
	})
	for range 5 {
		if err := check(t.Context(), f.conn); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := f.calls(); n != 5 {
		t.Errorf("5 calls that must not be repeated made %d attempts", n)
	}
}

// Many hedged calls at once, some of whose callers leave.
func TestHedgeStress(t *testing.T) {
	f := newFleet(t, 4, fairlead.WithHedge(retry.Hedge{After: 5 * time.Millisecond}),
		fairlead.WithRetry(retry.Config{Budget: retry.Budget{Ratio: -1}}))
	for i, b := range f.backends {
		b.does(func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(4*i) * time.Millisecond):
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 60 {
				limit := patience
				if (g+i)%7 == 0 {
					limit = 6 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(allowed(t.Context()), limit)
				err := check(ctx, f.conn)
				cancel()
				if code := status.Code(err); err != nil && (code != codes.DeadlineExceeded || limit == patience) {
					t.Errorf("error %v", err)
				}
			}
		})
	}
	wg.Wait()
	f.idle(t)
}

// learning is round robin that learns which attempts were overtaken.
type learning struct {
	balancer.Policy
	overtaken *sync.Map // endpoint's ID → how often
}

type learningPicker struct {
	balancer.Picker
	overtaken *sync.Map
}

func (l learning) NewPicker(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
	if old, ok := prev.(learningPicker); ok {
		prev = old.Picker
	}
	return learningPicker{l.Policy.NewPicker(nodes, prev), l.overtaken}
}

func (l learningPicker) Observe(n *balancer.Node, o balancer.Outcome, _ time.Duration) {
	if o.Overtaken {
		count, _ := l.overtaken.LoadOrStore(n.ID(), new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
	}
}

// A policy that learns is told that an attempt was overtaken; of a hedge that came
// too late it is told nothing.
func TestHedgeTellsWhoWasOvertaken(t *testing.T) {
	var overtaken sync.Map
	f := newFleet(t, 3, hedgeSoon, fairlead.WithBalancer(learning{balancer.RoundRobin(), &overtaken}))
	slow := f.backends[0]
	slow.held.Store(true)
	for range 30 {
		if err := check(allowed(t.Context()), f.conn); err != nil {
			t.Fatal(err)
		}
	}
	slow.held.Store(false)
	f.idle(t)
	count, _ := overtaken.Load(slow.addr)
	if n := slow.calls.Load(); count == nil || count.(*atomic.Int64).Load() != n || n < 5 {
		t.Errorf("of %d attempts at the backend that does not answer, %v were overtaken", n, count)
	}
}

// The caller's request is the caller's again when the call is over, although a hedge
// that came too late is still on its way through an interceptor.
func TestHedgeHasARequestOfItsOwn(t *testing.T) {
	f := newFleet(t, 2, hedgeSoon)
	var calls atomic.Int64
	var armed, seen atomic.Bool
	late := make(chan struct{})
	conn := f.dial(t, grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if n := calls.Add(1); armed.Load() && n == 2 {
			defer seen.Store(true)
			<-late
			if got := req.(*health.HealthCheckRequest).Service; got != "a" {
				t.Errorf("the hedge would ask for %q", got)
			}
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}))
	f.each(func(b *backend) {
		b.does(func(context.Context) error { time.Sleep(50 * time.Millisecond); return nil })
	})
	calls.Store(0)
	armed.Store(true)
	req := &health.HealthCheckRequest{Service: "a"}
	if _, err := health.NewHealthClient(conn).Check(allowed(t.Context()), req); err != nil {
		t.Fatal(err)
	}
	req.Service = "b"
	close(late)
	eventually(t, "the hedge has ended", seen.Load)
	f.idle(t)
}
