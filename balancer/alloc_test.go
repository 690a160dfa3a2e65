package balancer_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/fairlead-go/fairlead/balancer"
)

func TestPickAllocatesNothing(t *testing.T) {
	for _, p := range benchPolicies() {
		for _, n := range []int{3, 17, 1000} {
			t.Run(fmt.Sprintf("%s/n=%d", p.name, n), func(t *testing.T) {
				b := benchFleet(t, p, n)
				info := &balancer.Info{Context: p.ctx, Retryable: true}
				if got := testing.AllocsPerRun(500, func() { pickAndRelease(b, info) }); got != 0 {
					t.Errorf("pick, report and release: %v allocations, want 0", got)
				}
				info.Avoid(b.Nodes()[0])
				if got := testing.AllocsPerRun(500, func() { pickAndRelease(b, info) }); got != 0 {
					t.Errorf("while a node is avoided: %v allocations, want 0", got)
				}
			})
		}
	}
}

// allocGate admits and hands out a token that costs nothing.
type allocGate struct{}

func (allocGate) Allow() (any, error)        { return nil, nil }
func (allocGate) Done(any, balancer.Outcome) {}

func TestPickWithAGateAllocatesNothing(t *testing.T) {
	b := start(t, balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) { return nil, []balancer.Gate{allocGate{}} }}, fleet(5, even))
	info := &balancer.Info{}
	if got := testing.AllocsPerRun(500, func() { pickAndRelease(b, info) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// A snapshot of 1,000 endpoints in which one changed. Tables that follow the
// weights are allocated anew when a weight changes, in a few pieces.
func TestUpdateAllocatesLittle(t *testing.T) {
	for _, p := range benchPolicies() {
		for _, change := range []string{"nothing", "zone", "weight", "another"} {
			t.Run(p.name+"/"+change, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := balancer.New(balancer.Config{Policy: p.policy})
					defer b.Close()
					endpoints := fleet(1000, p.weight)
					update(t, b, endpoints)
					settle()
					limit := 10.0
					switch {
					case change == "nothing":
						limit = 0
					case (change == "weight" || change == "another") && p.ctx != nil:
						limit = 25 // hashing policies hold other pickers too
					case change == "another" && p.weight(1) != p.weight(2):
						limit = 15 // tables
					}
					others := []string{"", "10.9.0.1:80", "10.9.0.2:80", "10.9.0.3:80", "10.9.0.4:80", "10.9.0.5:80", "10.9.0.6:80"}
					i := 0
					// Each on its own: no two are merged.
					got := testing.AllocsPerRun(5, func() {
						i++
						switch change {
						case "zone":
							endpoints[500].Zone = []string{"a", "b"}[i%2]
						case "weight":
							endpoints[500].Weight = 1 + i%7
						case "another":
							endpoints[500].Addr = others[i]
						}
						if err := b.Update(endpoints); err != nil {
							t.Error(err)
						}
						settle()
					})
					t.Logf("%v allocations", got)
					if got > limit {
						t.Errorf("%v allocations, want at most %v", got, limit)
					}
				})
			})
		}
	}
}
