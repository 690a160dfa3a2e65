package balancer_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

var benchSizes = []int{3, 10, 100, 1000, 10_000}

// benchPolicies are all policies, with weights where they mean something, and
// the context that their calls carry.
func benchPolicies() []benchPolicy {
	user := balancer.WithClientIP(context.Background(), netip.MustParseAddr("203.0.113.9"))
	return []benchPolicy{
		{"RoundRobin", balancer.RoundRobin(), even, nil},
		{"WeightedRoundRobin", balancer.WeightedRoundRobin(), uneven, nil},
		{"Random", balancer.Random(), even, nil},
		{"RandomWeighted", balancer.Random(), uneven, nil},
		{"P2C", balancer.P2C(), even, nil},
		{"P2CWeighted", balancer.P2C(), uneven, nil},
		{"PeakEWMA", balancer.PeakEWMA(), even, nil},
		{"PeakEWMAWeighted", balancer.PeakEWMA(), uneven, nil},
		{"LeastConn", balancer.LeastConn(), even, nil},
		{"IPHash", balancer.IPHash(), even, user},
		{"IPHashWeighted", balancer.IPHash(), uneven, user},
		{"IPHashNginx", balancer.IPHash(balancer.NginxHash), uneven, user},
	}
}

type benchPolicy struct {
	name   string
	policy balancer.Policy
	weight func(i int) int
	ctx    context.Context
}

func even(int) int     { return 1 }
func uneven(i int) int { return 1 + i%7 }

// ideal is the cheapest balancer there is: a slice and a counter.
type ideal struct {
	nodes []*balancer.Node
	_     [64]byte
	turn  atomic.Uint64
	_     [64]byte
}

func (i *ideal) pick() *balancer.Node { return i.nodes[i.turn.Add(1)%uint64(len(i.nodes))] }

var sink atomic.Pointer[balancer.Node]

func benchFleet(tb testing.TB, p benchPolicy, n int) *balancer.Balancer {
	b := balancer.New(balancer.Config{Policy: p.policy})
	tb.Cleanup(b.Close)
	if err := b.Update(fleet(n, p.weight)); err != nil {
		tb.Fatal(err)
	}
	return b
}

// BenchmarkPick is a pick, its count, a report and a release; the metric x-ideal
// is its time over that of the slice and the counter, in the same run.
func BenchmarkPick(b *testing.B) {
	for _, p := range benchPolicies() {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/n=%d", p.name, n), func(b *testing.B) {
				bal := benchFleet(b, p, n)
				info := &balancer.Info{Context: p.ctx}
				base := &ideal{nodes: bal.Nodes()}
				began := time.Now()
				var last *balancer.Node
				for range b.N {
					last = base.pick()
				}
				sink.Store(last)
				idealTime := time.Since(began)

				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					pickAndRelease(bal, info)
				}
				b.ReportMetric(float64(b.Elapsed())/float64(idealTime), "x-ideal")
			})
		}
	}
}

// BenchmarkPickParallel is BenchmarkPick on all processors, against the ideal on
// all processors.
func BenchmarkPickParallel(b *testing.B) {
	for _, p := range benchPolicies() {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/n=%d", p.name, n), func(b *testing.B) {
				bal := benchFleet(b, p, n)
				base := &ideal{nodes: bal.Nodes()}
				began := time.Now()
				b.RunParallel(func(pb *testing.PB) {
					var last *balancer.Node
					for pb.Next() {
						last = base.pick()
					}
					sink.Store(last)
				})
				idealTime := time.Since(began)

				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					info := &balancer.Info{Context: p.ctx}
					for pb.Next() {
						pickAndRelease(bal, info)
					}
				})
				b.ReportMetric(float64(b.Elapsed())/float64(idealTime), "x-ideal")
			})
		}
	}
}

func pickAndRelease(b *balancer.Balancer, info *balancer.Info) {
	lease, err := b.Pick(info)
	if err != nil {
		panic(err)
	}
	lease.Report(balancer.Outcome{Verdict: balancer.Success})
	lease.Release()
}

// BenchmarkUpdate is a snapshot of 1,000 endpoints in which the metadata or the
// weight of one changed.
func BenchmarkUpdate(b *testing.B) {
	for _, p := range benchPolicies() {
		for _, what := range []string{"metadata", "weight"} {
			b.Run(p.name+"/"+what, func(b *testing.B) {
				bal := benchFleet(b, p, 1000)
				endpoints := fleet(1000, p.weight)
				b.ReportAllocs()
				for i := range b.N {
					if what == "weight" {
						endpoints[500].Weight = 1 + i%5
					} else {
						endpoints[500].Zone = []string{"a", "b"}[i%2]
					}
					if err := bal.Update(endpoints); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRebuild is what a policy takes when the readiness of one node changes, of n.
func BenchmarkRebuild(b *testing.B) {
	for _, p := range benchPolicies() {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/n=%d", p.name, n), func(b *testing.B) {
				g := newGates(b)
				bal := balancer.New(balancer.Config{Policy: p.policy, Join: g.join})
				b.Cleanup(bal.Close)
				if err := bal.Update(fleet(n, p.weight)); err != nil {
					b.Fatal(err)
				}
				nodes := bal.Nodes()
				gate := g.at(nodes[n/2].ID())
				picker := p.policy.NewPicker(nodes, nil)
				var spent time.Duration
				for i := range b.N {
					gate.set(balancer.GateState(2 * (i % 2)))
					began := time.Now()
					picker = p.policy.NewPicker(nodes, picker)
					spent += time.Since(began)
				}
				b.ReportMetric(float64(spent)/float64(b.N), "ns/rebuild")
			})
		}
	}
}
