package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/internal/monotime"
)

// chooser is one balancer's way to choose among n endpoints.
type chooser struct {
	name  string
	most  int // endpoints at which it is started; 0 is any number
	start func(n int) (worker, error)

	// unsafe is not for concurrent use.
	unsafe bool
}

// fits reports whether it is started at n endpoints and so many callers.
func (c *chooser) fits(n, callers int) bool {
	return (c.most == 0 || n <= c.most) && (callers == 1 || !c.unsafe)
}

// discipline is what choosers of the same kind are compared in.
type discipline struct {
	title    string
	choosers []chooser
}

// disciplines are all that we and our peers can do in the way of choosing.
func disciplines() []discipline {
	return []discipline{
		{"In turn", []chooser{
			ours("RoundRobin", balancer.RoundRobin(), one),
			httplbRoundRobin, grpcRoundRobin, kitRoundRobin,
		}},
		{"In turn, by weight", []chooser{
			ours("WeightedRoundRobin", balancer.WeightedRoundRobin(), weight),
			grpcWeightedRoundRobin, kratosWRR,
		}},
		{"At random", []chooser{
			ours("Random", balancer.Random(), one),
			ours("Random, by weight", balancer.Random(), weight),
			httplbRandom, kitRandom, kratosRandom,
		}},
		{"Less busy of two", []chooser{
			ours("P2C", balancer.P2C(), one), guarded("P2C, with breakers", balancer.P2C()),
			ours("P2C, by weight", balancer.P2C(), weight),
			httplbPowerOfTwo, grpcLeastRequest,
		}},
		{"Least busy of all", []chooser{
			ours("LeastConn", balancer.LeastConn(), one),
			ours("LeastConn, by weight", balancer.LeastConn(), weight),
			httplbLeastLoaded,
		}},
		{"Faster of two", []chooser{
			ours("PeakEWMA", balancer.PeakEWMA(), one),
			ours("PeakEWMA, by weight", balancer.PeakEWMA(), weight),
			kratosP2C, zeroP2C,
		}},
		{"By a key's hash", []chooser{
			ours("IPHash", balancer.IPHash(), one),
			ours("IPHash, by weight", balancer.IPHash(), weight),
			ours("IPHash(NginxHash), by weight", balancer.IPHash(balancer.NginxHash), weight),
			grpcRingHash, zeroConsistentHash,
		}},
	}
}

// contest has the choosers compete at one size, with so many callers.
func (d *discipline) contest(n, callers int) *contest {
	c := &contest{name: fmt.Sprintf("%s, %d endpoints", d.title, n), parallel: callers}
	for _, ch := range d.all() {
		if ch.fits(n, callers) {
			c.entries = append(c.entries, entry{ch.name, func() (worker, error) { return ch.start(n) }})
		}
	}
	return c
}

// counted is an endpoint of which nothing is known but what is in flight.
type counted struct {
	_        [64]byte
	inFlight atomic.Int64
	_        [56]byte
}

// slots is the cheapest balancer there is: a slice and a counter, on cache lines
// of its own.
type slots struct {
	endpoints []*counted
	_         [64]byte
	turn      atomic.Uint64
	_         [56]byte
}

func newSlots(n int) *slots {
	s := &slots{}
	for range n {
		s.endpoints = append(s.endpoints, &counted{})
	}
	return s
}

func (s *slots) next() *counted { return s.endpoints[s.turn.Add(1)%uint64(len(s.endpoints))] }

// keep keeps what a loop has found, so that the loop is not left out.
var keep atomic.Pointer[counted]

// slot is what all picks are measured by: slice[atomic.Add(1) % n].
var slot = chooser{name: "slice[counter % n]", start: func(n int) (worker, error) {
	s := newSlots(n)
	return worker{work: func(n int) error {
		var last *counted
		for range n {
			last = s.next()
		}
		keep.Store(last)
		return nil
	}}, nil
}}

// slotAndCount also counts what is in flight, as a pick of ours does.
var slotAndCount = chooser{name: "the same, and a count in flight", start: func(n int) (worker, error) {
	s := newSlots(n)
	return worker{work: func(n int) error {
		for range n {
			e := s.next()
			e.inFlight.Add(1)
			e.inFlight.Add(-1)
		}
		return nil
	}}, nil
}}

// ours picks, counts, reports and releases.
func ours(name string, policy balancer.Policy, weight func(int) int) chooser {
	return chooserOf(name, weight, func() (balancer.Config, error) { return balancer.Config{Policy: policy}, nil })
}

// guarded is ours where each endpoint has a breaker, as it has in a Mesh.
func guarded(name string, policy balancer.Policy) chooser {
	return chooserOf(name, one, func() (balancer.Config, error) {
		group, err := breaker.NewGroup(breaker.Config{})
		return balancer.Config{
			Policy: policy,
			Join: func(*balancer.Node) (any, []balancer.Gate) {
				own := group.Add(breaker.Hooks{})
				return own, []balancer.Gate{&guard{Breaker: own}}
			},
			Leave: func(n *balancer.Node) { n.Data().(*breaker.Breaker).Close() },
		}, err
	})
}

// guard is a breaker as a gate. None of those here opens.
type guard struct{ *breaker.Breaker }

var (
	_ balancer.StatefulGate = (*guard)(nil)
	_ balancer.TimedGate    = (*guard)(nil)
)

func (g *guard) State() balancer.GateState { return balancer.Admitting }
func (g *guard) Notify(func())             {}

func (g *guard) TimedDone(token any, v balancer.Verdict, now monotime.Time) {
	g.DoneAt(token, v, now)
}

func chooserOf(name string, weight func(int) int, config func() (balancer.Config, error)) chooser {
	user := balancer.WithClientIP(context.Background(), netip.MustParseAddr("203.0.113.9"))
	return chooser{name: "fairlead " + name, start: func(n int) (worker, error) {
		c, err := config()
		if err != nil {
			return worker{}, err
		}
		b := balancer.New(c)
		if err := b.Update(endpoints(n, weight)); err != nil {
			return worker{}, err
		}
		work := func(n int) error {
			info := &balancer.Info{Context: user}
			for range n {
				lease, err := b.Pick(info)
				if err != nil {
					return err
				}
				lease.Report(balancer.Outcome{Verdict: balancer.Success})
				lease.Release()
			}
			return nil
		}
		where := func() (string, error) {
			lease, err := b.Pick(&balancer.Info{Context: user}) // never done, so that it is counted
			if err != nil {
				return "", err
			}
			return lease.Node().Addr(), nil
		}
		return worker{work: work, where: where, stop: b.Close}, nil
	}}
}

// sizes are the numbers of endpoints that picks are measured at.
var sizes = []int{3, 10, 100, 1000, 10_000}

// pickTables has every discipline compete serially, and on all cores.
func pickTables(h *host) ([]*table, error) {
	var tables []*table
	for _, cores := range []int{1, runtime.GOMAXPROCS(0)} {
		for _, d := range disciplines() {
			t, err := d.table(h, cores, sizes)
			if err != nil {
				return nil, err
			}
			tables = append(tables, t)
		}
	}
	return tables, nil
}

func (d *discipline) table(h *host, cores int, sizes []int) (*table, error) {
	title := "Picks: " + strings.ToLower(d.title)
	if cores > 1 {
		title += fmt.Sprintf(", %d callers at a time", cores)
	}
	t := newSizeTable(title, d.about(sizes, cores))
	var first []*result
	for _, n := range sizes {
		results, err := h.run(d.contest(n, cores))
		if err != nil {
			return nil, err
		}
		t.add(n, results, (*result).cost)
		if n == sizes[0] {
			first = results
		}
	}
	t.extra("allocations, n = "+group(sizes[0]), first, (*result).allocations)
	return t.table(), nil
}

// all are the discipline's choosers, behind what they are measured by.
func (d *discipline) all() []chooser { return append([]chooser{slot, slotAndCount}, d.choosers...) }

func (d *discipline) about(sizes []int, callers int) string {
	text := "CPU time of a pick and of what ends it: the ratio to the first line's, and itself. fairlead's endpoints have no breakers but where it says so; a Mesh's have, and each pick asks one."
	for _, ch := range d.choosers {
		if !ch.fits(slices.Max(sizes), 1) {
			text += fmt.Sprintf(" %s is not started beyond %s endpoints: it makes all anew for each connection that comes up.", ch.name, group(ch.most))
		}
		if !ch.fits(1, callers) {
			text += fmt.Sprintf(" %s is not safe for concurrent use.", ch.name)
		}
	}
	return text
}
