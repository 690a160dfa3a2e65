package balancer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// shareCase is a policy and the shares it promises to an idle service.
type shareCase struct {
	name    string
	policy  balancer.Policy
	weights []int // nil: whatever
	even    bool  // weights do not matter
	users   bool  // hashes addresses
}

func shareCases() []shareCase {
	some := []int{1, 2, 3, 4, 5, 1, 2}
	many := make([]int, 40)
	for i := range many {
		many[i] = 1 + i%4
	}
	return []shareCase{
		{name: "RoundRobin", policy: balancer.RoundRobin(), weights: some, even: true},
		{name: "WeightedRoundRobin", policy: balancer.WeightedRoundRobin(), weights: some},
		{name: "Random, even", policy: balancer.Random(), weights: ones(7)},
		{name: "Random, weighted", policy: balancer.Random(), weights: some},
		{name: "Random, heavy and light", policy: balancer.Random(), weights: []int{1000, 1, 1, 30, 500}},
		{name: "P2C, even", policy: balancer.P2C(), weights: ones(7)},
		{name: "P2C, two even", policy: balancer.P2C(), weights: ones(2)},
		{name: "P2C, two uneven", policy: balancer.P2C(), weights: []int{2, 1}},
		{name: "P2C, weighted", policy: balancer.P2C(), weights: some},
		{name: "P2C, one outweighs the rest", policy: balancer.P2C(), weights: []int{20, 1, 1}},
		{name: "LeastConn, ties", policy: balancer.LeastConn(), weights: ones(7)},
		{name: "IPHash, rendezvous", policy: balancer.IPHash(), weights: ones(7), users: true},
		{name: "IPHash, two", policy: balancer.IPHash(), weights: ones(2), users: true},
		{name: "IPHash, sixteen", policy: balancer.IPHash(), weights: ones(16), users: true},
		{name: "IPHash, rendezvous, weighted", policy: balancer.IPHash(), weights: some, users: true},
		{name: "IPHash, rendezvous, heavy and light", policy: balancer.IPHash(), weights: []int{1000, 1, 30, 500}, users: true},
	}
}

func ones(n int) []int {
	w := make([]int, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

// infos returns calls, for the hashing policies each by another user.
func infos(users bool, n int) func(yield func(*balancer.Info) bool) {
	random := rand.New(rand.NewPCG(7, 7))
	return func(yield func(*balancer.Info) bool) {
		for range n {
			info := &balancer.Info{}
			if users {
				info.Context = balancer.WithClientIP(context.Background(), randomIPv4(random))
			}
			if !yield(info) {
				return
			}
		}
	}
}

func randomIPv4(random *rand.Rand) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], random.Uint32())
	return netip.AddrFrom4(b)
}

func TestShares(t *testing.T) {
	for _, tt := range shareCases() {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, balancer.Config{Policy: tt.policy}, weighted(tt.weights...))
			want := map[string]float64{}
			for _, n := range b.Nodes() {
				want[n.ID()] = float64(n.Weight())
				if tt.even {
					want[n.ID()] = 1
				}
			}
			counts := map[string]int{}
			for info := range infos(tt.users, 15_000) {
				counts[once(t, b, info, success)]++
			}
			checkShares(t, counts, want)
		})
	}
}

// Cores that contend take several turns at once.
func TestSharesInTurnWhileCallersContend(t *testing.T) {
	for _, tt := range shareCases() {
		if tt.policy != balancer.RoundRobin() && tt.policy != balancer.WeightedRoundRobin() {
			continue // at random, by key, or by what is in flight
		}
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, balancer.Config{Policy: tt.policy}, weighted(tt.weights...))
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 4000 {
						pickAndRelease(b, &balancer.Info{})
					}
				})
			}
			wg.Wait()
			counts, want := map[string]int{}, map[string]float64{}
			for _, n := range b.Nodes() {
				counts[n.ID()], want[n.ID()] = int(n.Picks()), float64(n.Weight())
				if tt.even {
					want[n.ID()] = 1
				}
				if n.InFlight() != 0 {
					t.Errorf("%d calls in flight after all were released", n.InFlight())
				}
			}
			checkShares(t, counts, want)
		})
	}
}

// A node that leaves, is not ready or is avoided must not burden its neighbour.
func TestShareOfAMissingNodeIsSpread(t *testing.T) {
	ways := []struct {
		name string
		take func(t *testing.T, b *balancer.Balancer, endpoints []discovery.Endpoint, gone *strictGate)
		info func(b *balancer.Balancer, info *balancer.Info, gone *balancer.Node)
	}{
		{name: "removed", take: func(t *testing.T, b *balancer.Balancer, endpoints []discovery.Endpoint, _ *strictGate) {
			update(t, b, append(append([]discovery.Endpoint{}, endpoints[:3]...), endpoints[4:]...))
		}},
		{name: "not ready", take: func(_ *testing.T, _ *balancer.Balancer, _ []discovery.Endpoint, gone *strictGate) {
			gone.set(balancer.Refusing)
		}},
		{name: "refusing before anybody knows", take: func(_ *testing.T, _ *balancer.Balancer, _ []discovery.Endpoint, gone *strictGate) {
			gone.setQuietly(balancer.Refusing)
		}},
		{name: "avoided", info: func(_ *balancer.Balancer, info *balancer.Info, gone *balancer.Node) { info.Avoid(gone) }},
	}
	for _, way := range ways {
		for _, tt := range shareCases() {
			if len(tt.weights) < 7 {
				continue
			}
			t.Run(way.name+"/"+tt.name, func(t *testing.T) {
				endpoints := weighted(tt.weights...)
				g := newGates(t)
				b := start(t, balancer.Config{Policy: tt.policy, Join: g.join}, endpoints)
				gone := node(t, b, "d")
				if way.take != nil {
					way.take(t, b, endpoints, g.at("d"))
				}
				// Of those calls that would have gone to d, where do they go? It
				// suffices to look at the shares of all: d's is a seventh or more.
				want := map[string]float64{}
				for i, e := range endpoints {
					if e.ID == "d" {
						continue
					}
					want[e.ID] = float64(tt.weights[i])
					if tt.even {
						want[e.ID] = 1
					}
				}
				// Another node stands in for one that is avoided: any, whatever its weight.
				standIn := way.info != nil && !tt.even && !tt.users
				if standIn {
					want = mixed(want, float64(tt.weights[3]))
				}
				if way.name == "refusing before anybody knows" && tt.name == "Random, weighted" {
					// Drawn again by weight, and evenly where that gives d again.
					for id, w := range want {
						want[id] = w + 4*w/18 + 4*4.0/18/6
					}
				}
				counts := map[string]int{}
				for info := range infos(tt.users, 15_000) {
					if way.info != nil {
						way.info(b, info, gone)
					}
					counts[once(t, b, info, success)]++
				}
				if standIn && tt.name[:3] == "P2C" {
					// Ties go to the node with fewer picks, which evens out: by weight again.
					return
				}
				checkShares(t, counts, want)
			})
		}
	}
}

// mixed adds an even split of extra.
func mixed(weights map[string]float64, extra float64) map[string]float64 {
	out := make(map[string]float64, len(weights))
	for id, w := range weights {
		out[id] = w + extra/float64(len(weights))
	}
	return out
}

func TestP2CNeverPicksTheBusier(t *testing.T) {
	b := start(t, balancer.Config{Policy: balancer.P2C()}, weighted(1, 1))
	busy := pick(t, b, &balancer.Info{})
	defer busy.Release()
	for range 10_000 {
		if id := once(t, b, &balancer.Info{}, success); id == busy.Node().ID() {
			t.Fatalf("picked %q, which is the busier of two", id)
		}
	}
}

func TestP2CWeighsWhatIsInFlight(t *testing.T) {
	b := start(t, balancer.Config{Policy: balancer.P2C()}, weighted(3, 1))
	held := map[string]int{}
	for range 400 {
		l := pick(t, b, &balancer.Info{})
		defer l.Release()
		held[l.Node().ID()]++
	}
	if held["a"] < 298 || held["a"] > 302 {
		t.Errorf("of 400 calls in flight %v, want 300 on a, whose weight is 3 of 4", held)
	}
}

func TestNewcomerIsNotFlooded(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy balancer.Policy
	}{
		{"P2C", balancer.P2C()},
		{"RoundRobin", balancer.RoundRobin()},
		{"WeightedRoundRobin", balancer.WeightedRoundRobin()},
		{"LeastConn", balancer.LeastConn()},
		{"Random", balancer.Random()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, balancer.Config{Policy: tt.policy}, weighted(ones(5)...))
			for range 10_000 {
				once(t, b, &balancer.Info{}, success)
			}
			update(t, b, weighted(ones(6)...))
			counts, want := map[string]int{}, map[string]float64{}
			for range 6000 {
				counts[once(t, b, &balancer.Info{}, success)]++
			}
			for _, n := range b.Nodes() {
				want[n.ID()] = 1
			}
			checkShares(t, counts, want)
		})
	}
}

func TestLeastConnIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, weights := range [][]int{{1, 1, 1}, {3, 1, 2}, {10, 1}, {7, 5, 3, 2, 1, 1_000_000}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			b := start(t, balancer.Config{Policy: balancer.LeastConn()}, weighted(weights...))
			var held []balancer.Lease
			for range 2000 {
				if len(held) > 0 && random.IntN(3) == 0 {
					i := random.IntN(len(held))
					held[i].Release()
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
					continue
				}
				before := map[string]float64{}
				least := 1e18
				for _, n := range b.Nodes() {
					before[n.ID()] = float64(n.InFlight()+1) / float64(n.Weight())
					least = min(least, before[n.ID()])
				}
				l := pick(t, b, &balancer.Info{})
				held = append(held, l)
				if got := before[l.Node().ID()]; got > least*(1+1e-12) {
					t.Fatalf("picked %q with a load of %v, the least is %v", l.Node().ID(), got, least)
				}
			}
			for i := range held {
				held[i].Release()
			}
		})
	}
}
