package balancer_test

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// fleet returns n endpoints, ordered by ID.
func fleet(n int, weight func(i int) int) []discovery.Endpoint {
	endpoints := make([]discovery.Endpoint, n)
	for i := range endpoints {
		endpoints[i] = discovery.Endpoint{
			ID:     fmt.Sprintf("e%05d", i),
			Addr:   fmt.Sprintf("10.%d.%d.%d:80", i>>16&255, i>>8&255, i&255),
			Weight: weight(i),
		}
	}
	return endpoints
}

// weighted returns endpoints a, b, c… with these weights.
func weighted(weights ...int) []discovery.Endpoint {
	endpoints := make([]discovery.Endpoint, len(weights))
	for i, w := range weights {
		endpoints[i] = discovery.Endpoint{ID: string(rune('a' + i)), Addr: fmt.Sprintf("10.0.0.%d:80", i+1), Weight: w}
	}
	return endpoints
}

// start returns a Balancer over endpoints, closed at the test's end.
func start(t testing.TB, config balancer.Config, endpoints []discovery.Endpoint) *balancer.Balancer {
	t.Helper()
	b := balancer.New(config)
	t.Cleanup(b.Close)
	update(t, b, endpoints)
	return b
}

func update(t testing.TB, b *balancer.Balancer, endpoints []discovery.Endpoint) {
	t.Helper()
	if err := b.Update(endpoints); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// pick picks, and fails the test when there is no node.
func pick(t testing.TB, b interface {
	Pick(*balancer.Info) (balancer.Lease, error)
}, info *balancer.Info) balancer.Lease {
	t.Helper()
	l, err := b.Pick(info)
	if err != nil {
		t.Fatalf("Pick: %v", err)
	}
	return l
}

// once makes a whole call with outcome o and returns the ID of its node.
func once(t testing.TB, b *balancer.Balancer, info *balancer.Info, o balancer.Outcome) string {
	t.Helper()
	l := pick(t, b, info)
	id := l.Node().ID()
	l.Report(o)
	l.Release()
	return id
}

var (
	success  = balancer.Outcome{Verdict: balancer.Success}
	failure  = balancer.Outcome{Verdict: balancer.Failure}
	overload = balancer.Outcome{Verdict: balancer.Overload}
)

func node(t testing.TB, b *balancer.Balancer, id string) *balancer.Node {
	t.Helper()
	for _, n := range b.Nodes() {
		if n.ID() == id {
			return n
		}
	}
	t.Fatalf("no node %q", id)
	return nil
}

// checkShares fails unless counts fit the weights by a chi-squared test at a
// significance of 1e-6.
func checkShares(t testing.TB, counts map[string]int, weights map[string]float64) {
	t.Helper()
	total, sum := 0, 0.0
	for id, c := range counts {
		if _, ok := weights[id]; !ok {
			t.Errorf("%q was picked %d times, want never", id, c)
		}
		total += c
	}
	for _, w := range weights {
		sum += w
	}
	chi := 0.0
	for id, w := range weights {
		want := float64(total) * w / sum
		d := float64(counts[id]) - want
		chi += d * d / want
	}
	if limit := chiSquared(len(weights) - 1); chi > limit {
		t.Errorf("chi-squared is %.1f, want at most %.1f: counts %v, weights %v", chi, limit, counts, weights)
	}
}

// chiSquared is the value that a chi-squared variable exceeds with a probability
// of 1e-6: found by bisection.
func chiSquared(freedom int) float64 {
	low, high := 0.0, 100+10*float64(freedom)
	for range 60 {
		if mid := (low + high) / 2; chiSquaredTail(mid, freedom) > 1e-6 {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// chiSquaredTail is the probability to exceed x: Abramowitz and Stegun 26.4.4
// and 26.4.5.
func chiSquaredTail(x float64, freedom int) float64 {
	if freedom <= 0 {
		return 0
	}
	tail, term, first := math.Exp(-x/2), math.Exp(-x/2), 2
	if freedom%2 == 1 {
		tail, first = math.Erfc(math.Sqrt(x/2)), 1
		term = math.Sqrt(2/(math.Pi*x)) * math.Exp(-x/2)
		for r := first; r <= freedom-2; r += 2 {
			term *= x / float64(r)
			tail += term
		}
		return tail
	}
	for r := first; r <= freedom-2; r += 2 {
		term *= x / float64(r)
		tail += term
	}
	return tail
}

func TestChiSquared(t *testing.T) {
	// From tables of the distribution.
	for freedom, want := range map[int]float64{1: 23.928, 2: 27.631, 3: 30.665, 10: 46.863} {
		if got := chiSquared(freedom); math.Abs(got-want) > 0.1 {
			t.Errorf("chiSquared(%d) = %.3f, want %.3f", freedom, got, want)
		}
	}
}

// strictGate is a gate under the test's control that fails the test when an
// admission is not answered exactly once.
type strictGate struct {
	t       testing.TB
	state   atomic.Uint32
	refuse  atomic.Pointer[error] // what Allow returns although the state admits
	allowed atomic.Int64
	refused atomic.Int64
	done    [5]atomic.Int64 // by verdict
	ended   [5]atomic.Int64
	hasty   atomic.Int64
	onHaste func()

	mu      sync.Mutex
	open    map[int]bool // tokens not yet answered; guarded by mu
	next    int          // guarded by mu
	probing bool         // a probe is under way; guarded by mu
	changed func()       // guarded by mu
}

var (
	_ balancer.StatefulGate = (*strictGate)(nil)
	_ balancer.EndWatcher   = (*strictGate)(nil)
	_ balancer.Hastener     = (*strictGate)(nil)
)

func newGate(t testing.TB) *strictGate {
	g := &strictGate{t: t, open: make(map[int]bool)}
	t.Cleanup(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.open) > 0 {
			t.Errorf("%d admissions were never answered", len(g.open))
		}
	})
	return g
}

type gateError string

func (e gateError) Error() string { return string(e) }

const errClosed gateError = "gate: closed"

func (g *strictGate) Allow() (any, error) {
	g.allowed.Add(1)
	if err := g.refuse.Load(); err != nil {
		g.refused.Add(1)
		return nil, *err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.State() {
	case balancer.Refusing:
		g.refused.Add(1)
		return nil, errClosed
	case balancer.Probing:
		if g.probing {
			g.refused.Add(1)
			return nil, errClosed
		}
		g.probing = true
	}
	g.next++
	g.open[g.next] = true
	return g.next, nil
}

func (g *strictGate) Done(token any, o balancer.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, ok := token.(int)
	if !ok || !g.open[id] {
		g.t.Errorf("Done(%v): this admission was answered before, or never was", token)
	}
	delete(g.open, id)
	g.probing = false
	g.done[o.Verdict].Add(1)
}

func (g *strictGate) Ended(v balancer.Verdict)  { g.ended[v].Add(1) }
func (g *strictGate) State() balancer.GateState { return balancer.GateState(g.state.Load()) }

func (g *strictGate) Hasten() {
	g.hasty.Add(1)
	if g.onHaste != nil {
		g.onHaste()
	}
}

func (g *strictGate) Notify(changed func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = changed
}

// set changes the state and tells the Balancer.
func (g *strictGate) set(s balancer.GateState) {
	g.setQuietly(s)
	g.mu.Lock()
	changed := g.changed
	g.mu.Unlock()
	changed()
}

// setQuietly changes the state as seen by a call that races with the change.
func (g *strictGate) setQuietly(s balancer.GateState) { g.state.Store(uint32(s)) }

// gates is a Join that gives each node a strictGate of its own.
type gates struct {
	t  testing.TB
	mu sync.Mutex
	of map[string]*strictGate // guarded by mu
}

func newGates(t testing.TB) *gates { return &gates{t: t, of: make(map[string]*strictGate)} }

func (g *gates) join(n *balancer.Node) (any, []balancer.Gate) {
	gate := newGate(g.t)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of[n.ID()] = gate
	return n.ID(), []balancer.Gate{gate}
}

func (g *gates) at(id string) *strictGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[id]
}
