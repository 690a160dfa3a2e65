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
// for round robin, least loaded and Peak EWMA: of eleven replicas that take 167 ms
// at 1,000 calls a second, one takes two seconds for half of a minute. One of a
// hundred is easier for round robin, and gives its users fewer chances to learn. The
// latencies are drawn, since Linkerd's are not published.
type slowReplica struct {
	replicas  int
	latency   func() time.Duration // of a fast one
	rate      int                  // calls a second, at random moments
	sane      time.Duration        // for which all replicas are fast, before and, where counted, after
	sick      time.Duration        // for which one is slow
	countSane bool                 // the calls of the sane times too
	random    *rand.Rand
	slow      atomic.Bool
	served    atomic.Int64
}

// linkerds is Linkerd's own set-up.
func linkerds() *slowReplica {
	return &slowReplica{
		replicas: 11, rate: 1000, sane: 15 * time.Second, sick: 30 * time.Second, countSane: true,
		latency: func() time.Duration { return time.Duration((167 + 5*rand.NormFloat64()) * float64(time.Millisecond)) },
		random:  rand.New(rand.NewPCG(1, 11)),
	}
}

// oneOfAHundred is a larger fleet: half of all calls take 40 ms, some 200.
func oneOfAHundred() *slowReplica {
	return &slowReplica{
		replicas: 100, rate: 600, sane: 15 * time.Second, sick: 75 * time.Second,
		latency: func() time.Duration {
			return 20*time.Millisecond + time.Duration(rand.ExpFloat64()*30*float64(time.Millisecond))
		},
		random: rand.New(rand.NewPCG(1, 100)),
	}
}

type slowReplicaResult struct{ calls, inTime, attempts int64 }

func (r slowReplicaResult) share() float64 { return 100 * float64(r.inTime) / float64(r.calls) }
func (r slowReplicaResult) extra() float64 {
	return 100 * (float64(r.attempts)/float64(r.calls) - 1)
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
	calls, inTime := s.load(mesh, s.sane)
	if !s.countSane {
		calls, inTime = 0, 0
		s.served.Store(0)
	}
	s.slow.Store(true)
	more, good := s.load(mesh, s.sick)
	calls, inTime = calls+more, inTime+good
	s.slow.Store(false)
	if s.countSane {
		more, good = s.load(mesh, s.sane)
		calls, inTime = calls+more, inTime+good
	}
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
	roundRobin, leastConn := fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithBalancer(balancer.LeastConn())
	for _, tt := range []struct {
		name     string
		of       func() *slowReplica
		opts     []fairlead.Option
		min, max float64 // percent of calls within a second
		extra    float64 // percent of attempts more than calls, at most
	}{
		{"round robin, Linkerd's", linkerds, []fairlead.Option{roundRobin}, 95.3, 95.6, 0},
		{"round robin, 100", oneOfAHundred, []fairlead.Option{roundRobin}, 98.9, 99.1, 0},
		{"least connection, Linkerd's", linkerds, []fairlead.Option{leastConn}, 99.3, 99.7, 0},
		{"least connection, 100", oneOfAHundred, []fairlead.Option{leastConn}, 99.7, 99.97, 0},
		{"Peak EWMA, Linkerd's", linkerds, []fairlead.Option{peak}, 99.93, 100, 0},
		{"Peak EWMA, 100", oneOfAHundred, []fairlead.Option{peak}, 99.93, 100, 0},
		{"Peak EWMA and hedges, Linkerd's", linkerds, []fairlead.Option{peak, hedge}, 99.99, 100, 1.2},
		{"Peak EWMA and hedges, 100", oneOfAHundred, []fairlead.Option{peak, hedge}, 99.99, 100, 1.2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := tt.of().run(t, tt.opts...)
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
