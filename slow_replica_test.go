package fairlead_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// slowReplica is what Linkerd published in 2016 ("Beyond Round Robin: Load
// Balancing for Latency") as 95, 99 and 99.9 % of calls answered within a second,
// for round robin, least loaded and Peak EWMA: one replica of a service answers
// in two seconds, the others fast. One of twenty is what gives round robin its
// 95 %; one of a hundred is easier for it, and gives its users fewer chances to
// learn.
type slowReplica struct {
	replicas int
	rate     int           // calls a second, at random moments
	sane     time.Duration // for which all replicas are fast
	sick     time.Duration // for which one is slow, and calls are counted
	random   *rand.Rand
	slow     atomic.Bool
	served   atomic.Int64
}

type slowReplicaResult struct{ calls, inTime, attempts int64 }

func (r slowReplicaResult) share() float64 { return 100 * float64(r.inTime) / float64(r.calls) }
func (r slowReplicaResult) extra() float64 {
	return 100 * (float64(r.attempts)/float64(r.calls) - 1)
}

// latency is that of a fast replica: half of all calls in 40 ms, some in 200.
func (s *slowReplica) latency() time.Duration {
	return 20*time.Millisecond + time.Duration(rand.ExpFloat64()*30*float64(time.Millisecond))
}

func (s *slowReplica) transport(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
	first := e.Addr == "0:80"
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		s.served.Add(1)
		if first && s.slow.Load() {
			return after(2*time.Second, 200)(req)
		}
		return after(s.latency(), 200)(req)
	}), nil
}

// roundTrip is a function that is a RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func (s *slowReplica) run(t *testing.T, opts ...fairlead.Option) slowReplicaResult {
	t.Helper()
	addrs := make([]string, s.replicas)
	for i := range addrs {
		addrs[i] = fmt.Sprintf("%d:80", i)
	}
	opts = append([]fairlead.Option{
		fairlead.WithLogger(slog.New(slog.DiscardHandler)), fairlead.WithEndpointTransport(s.transport),
	}, opts...)
	mesh, err := fairlead.New(discovery.Services{"users": discovery.Addrs(addrs...)}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	s.load(mesh, s.sane)
	s.slow.Store(true)
	s.served.Store(0)
	calls, inTime := s.load(mesh, s.sick)
	return slowReplicaResult{calls, inTime, s.served.Load()}
}

// load calls at random moments for a while.
func (s *slowReplica) load(mesh *fairlead.Mesh, d time.Duration) (calls, inTime int64) {
	var good atomic.Int64
	var wg sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(s.random.ExpFloat64() * float64(time.Second) / float64(s.rate)))
		calls++
		wg.Go(func() {
			began := time.Now()
			if succeedsIn(mesh, 10*time.Second) && time.Since(began) < time.Second {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	return calls, good.Load()
}

func succeedsIn(mesh *fairlead.Mesh, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
	if err != nil {
		return false
	}
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestSlowReplica(t *testing.T) {
	peak, hedge := fairlead.WithBalancer(balancer.PeakEWMA()), fairlead.WithHedge(retry.Hedge{})
	for _, tt := range []struct {
		name     string
		replicas int
		opts     []fairlead.Option
		min, max float64 // percent of calls within a second
		extra    float64 // percent of attempts more than calls, at most
	}{
		{"round robin", 20, []fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin())}, 94.8, 95.2, 0},
		{"round robin", 100, []fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin())}, 98.9, 99.1, 0},
		{"least connection", 20, []fairlead.Option{fairlead.WithBalancer(balancer.LeastConn())}, 99, 99.95, 0},
		{"least connection", 100, []fairlead.Option{fairlead.WithBalancer(balancer.LeastConn())}, 99, 99.95, 0},
		{"Peak EWMA", 20, []fairlead.Option{peak}, 99.93, 100, 0},
		{"Peak EWMA", 100, []fairlead.Option{peak}, 99.93, 100, 0},
		{"Peak EWMA and hedges", 20, []fairlead.Option{peak, hedge}, 99.99, 100, 1.2},
		{"Peak EWMA and hedges", 100, []fairlead.Option{peak, hedge}, 99.99, 100, 1.2},
		{"the default and hedges", 100, []fairlead.Option{hedge}, 99.99, 100, 1.2},
	} {
		t.Run(fmt.Sprintf("%s of %d", tt.name, tt.replicas), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowReplica{
					replicas: tt.replicas, rate: 600, sane: 15 * time.Second, sick: 75 * time.Second,
					random: rand.New(rand.NewPCG(1, uint64(tt.replicas))),
				}
				got := s.run(t, tt.opts...)
				t.Logf("%.3f %% of %d calls within a second, %.2f %% more attempts", got.share(), got.calls, got.extra())
				if got.share() < tt.min || got.share() > tt.max {
					t.Errorf("%.3f %% of calls within a second, want %v to %v", got.share(), tt.min, tt.max)
				}
				if got.extra() > tt.extra {
					t.Errorf("%.2f %% more attempts than calls, want at most %v", got.extra(), tt.extra)
				}
			})
		})
	}
}
