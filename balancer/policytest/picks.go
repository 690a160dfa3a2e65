package policytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// These are the rules of Pick.

func checkReturns(s *subject) error {
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error {
			f := newFleet(3, even)
			defer f.close()
			p := build(s.policy(), f.nodes, nil)
			callers := s.callers()
			for range 100 {
				p.Pick(callers.next())
			}
			return nil
		})
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(s.patience):
		return fmt.Errorf("NewPicker and 100 picks have not returned after %v; the other rules are left out", s.patience)
	}
}

// In the bubble time passes only while somebody waits for it.
func checkWaits(s *subject) error {
	f := newFleet(10, even)
	defer f.close()
	began := time.Now()
	p := build(s.policy(), f.nodes, nil)
	if waited := time.Since(began); waited > 0 {
		return fmt.Errorf("a call of NewPicker waited %v, want not at all", waited)
	}
	callers := s.callers()
	for i := range 1000 {
		p.Pick(callers.next())
		if waited := time.Since(began); waited > 0 {
			return fmt.Errorf("the pick number %d waited %v, want not at all", i+1, waited)
		}
	}
	return nil
}

// pattern says which nodes are ready, by their index of n.
type pattern struct {
	what  string
	ready func(i, n int) bool
}

var patterns = []pattern{
	{"all", func(int, int) bool { return true }},
	{"all but the first", func(i, _ int) bool { return i != 0 }},
	{"all but the last", func(i, n int) bool { return i != n-1 }},
	{"every other one", func(i, _ int) bool { return i%2 == 0 }},
	{"the others", func(i, _ int) bool { return i%2 == 1 }},
	{"only the first", func(i, _ int) bool { return i == 0 }},
	{"only the last", func(i, n int) bool { return i == n-1 }},
	{"only one in the middle", func(i, n int) bool { return i == n/2 }},
	{"all", func(int, int) bool { return true }},
}

func checkReady(s *subject) error {
	for _, n := range sizes[1:] {
		for _, state := range []balancer.GateState{balancer.Refusing, balancer.Probing} {
			if err := s.unready(n, state); err != nil {
				return fmt.Errorf("%d nodes, those that are not ready have a gate that %s: %w", n, verbs[state], err)
			}
		}
		if n > 10 {
			continue // what drains differs in nothing that grows
		}
		if err := s.drain(n); err != nil {
			return fmt.Errorf("%d nodes, those that are not ready drain: %w", n, err)
		}
	}
	return nil
}

var verbs = map[balancer.GateState]string{balancer.Refusing: "refuses", balancer.Probing: "waits for a probe"}

func (s *subject) unready(n int, state balancer.GateState) error {
	f := newFleet(n, uneven)
	defer f.close()
	policy := s.policy()
	picker := build(policy, f.nodes, nil)
	for _, pattern := range patterns {
		for i, node := range f.nodes {
			if pattern.ready(i, n) {
				set(node, balancer.Admitting)
			} else {
				set(node, state)
			}
		}
		picker = build(policy, f.nodes, picker)
		if err := s.picksReady(picker, f.nodes); err != nil {
			return fmt.Errorf("ready is %s: %w", pattern.what, err)
		}
	}
	return nil
}

func (s *subject) drain(n int) error {
	f := newFleet(n, uneven)
	defer f.close()
	policy := s.policy()
	picker := build(policy, f.nodes, nil)
	for _, pattern := range patterns {
		endpoints := slices.Clone(f.endpoints)
		for i := range endpoints {
			endpoints[i].Drain = !pattern.ready(i, n)
		}
		f.update(endpoints)
		f.settle()
		picker = build(policy, f.nodes, picker)
		if err := s.picksReady(picker, f.nodes); err != nil {
			return fmt.Errorf("ready is %s: %w", pattern.what, err)
		}
	}
	return nil
}

// picksReady makes calls, which all have to get a ready node, and one they do
// not avoid.
func (s *subject) picksReady(p balancer.Picker, nodes []*balancer.Node) error {
	callers := s.callers()
	ready := func(n *balancer.Node) bool { return n.Ready() }
	first := slices.IndexFunc(nodes, ready)
	others := slices.ContainsFunc(nodes[first+1:], ready)
	for range min(20*len(nodes), 400) {
		n := p.Pick(callers.next()).Node
		if err := wantReady(n); err != nil {
			return err
		}
		if !others {
			continue
		}
		info := callers.next()
		info.Avoid(nodes[first])
		if err := wantReady(p.Pick(info).Node); err != nil {
			return fmt.Errorf("a call that avoids one of the ready nodes: %w", err)
		}
	}
	return nil
}

func wantReady(n *balancer.Node) error {
	switch {
	case n == nil:
		return errors.New("picked no node, want a ready one")
	case !n.Ready():
		return fmt.Errorf("picked %q, which is not ready, while another node is", n.ID())
	}
	return nil
}

func checkAvoid(s *subject) error {
	for _, n := range []int{1, 2, 3, 10, 40} {
		f := newFleet(n, uneven)
		p := build(s.policy(), f.nodes, nil)
		callers := s.callers()
		for range 50 {
			if err := avoidAll(p, f.nodes, callers.next()); err != nil {
				f.close()
				return fmt.Errorf("with %d nodes: %w", n, err)
			}
		}
		f.close()
	}
	return nil
}

// avoidAll avoids each node that is picked, until none is left.
func avoidAll(p balancer.Picker, nodes []*balancer.Node, info *balancer.Info) error {
	for avoided := range nodes {
		n := p.Pick(info).Node
		switch {
		case n == nil:
			return fmt.Errorf("picked no node for a call that avoids %d, want one of the others", avoided)
		case info.Avoids(n):
			return fmt.Errorf("picked %q, which is one of %d nodes that the call avoids", n.ID(), avoided)
		}
		info.Avoid(n)
	}
	if n := p.Pick(info).Node; n != nil {
		return fmt.Errorf("picked %q for a call that avoids all nodes, want none", n.ID())
	}
	return nil
}

func checkContext(s *subject) error {
	f := newFleet(5, uneven)
	defer f.close()
	p := build(s.policy(), f.nodes, nil)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, call := range []struct {
		what string
		info *balancer.Info
	}{
		{"no context", &balancer.Info{}},
		{"no context, to be retried", &balancer.Info{Retryable: true}},
		{"a context without a key", &balancer.Info{Context: context.Background()}},
		{"a context that has ended", &balancer.Info{Context: ended}},
		{"a context with an IPv4 address", &balancer.Info{Context: putAddress(context.Background(), "192.0.2.1")}},
		{"a context with an IPv6 address", &balancer.Info{Context: putAddress(context.Background(), "2001:db8::1")}},
		{"a context with a key that is no address", &balancer.Info{Context: balancer.WithHashKey(context.Background(), "\x00\xff a key")}},
	} {
		err := guard(func() error {
			for range 20 {
				if err := wantMember(p.Pick(call.info).Node, f.nodes); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("a call with %s: %w", call.what, err)
		}
	}
	return nil
}

// checkReach keeps two calls per node in flight, for policies that go by load.
func checkReach(s *subject) error {
	for _, n := range []int{1, 2, 3, 10, 100} {
		f := newFleet(n, even)
		left := make(map[*balancer.Node]bool, n)
		for _, node := range f.nodes {
			left[node] = true
		}
		l := s.load(f, build(s.policy(), f.nodes, nil), 2*n)
		calls := 0
		for ; calls < 200*n+2000 && len(left) > 0; calls++ {
			node, err := l.next()
			if err != nil {
				return fmt.Errorf("with %d nodes: %w", n, err)
			}
			delete(left, node)
		}
		l.end()
		f.close()
		if len(left) > 0 {
			return fmt.Errorf("with %d nodes, all of them ready: %d got none of %d calls", n, len(left), calls)
		}
	}
	return nil
}

const mostReasons = 16

func checkReason(s *subject) error {
	f := newFleet(10, uneven)
	defer f.close()
	policy := s.policy()
	p := build(policy, f.nodes, nil)
	seen := make(map[string]bool)
	callers := s.callers()
	for i := range 4000 {
		if i == 2000 {
			for _, n := range f.nodes[2:] {
				set(n, balancer.Refusing)
			}
			p = build(policy, f.nodes, p)
		}
		info := callers.next()
		for j := range i % 3 {
			info.Avoid(f.nodes[j])
		}
		c := p.Pick(info)
		if c.Node == nil {
			continue
		}
		if err := badReason(c); err != nil {
			return err
		}
		seen[c.Reason] = true
		if len(seen) > mostReasons {
			return fmt.Errorf("%d different reasons, want at most %d: among them %q", len(seen), mostReasons, c.Reason)
		}
	}
	return nil
}

func badReason(c balancer.Choice) error {
	switch {
	case strings.TrimSpace(c.Reason) == "":
		return fmt.Errorf("the Reason is %q for %q, want a few words", c.Reason, c.Node.ID())
	case strings.Contains(c.Reason, c.Node.ID()) || strings.Contains(c.Reason, c.Node.Addr()):
		return fmt.Errorf("the Reason is %q, want words that do not name the node", c.Reason)
	}
	return nil
}

func checkAllocations(s *subject) error {
	for _, n := range []int{3, 17, 1000} {
		f := newFleet(n, uneven)
		defer f.close()
		p := build(s.policy(), f.nodes, nil)
		keyed, avoiding := s.callers().next(), s.callers().next()
		avoiding.Avoid(f.nodes[0])
		avoiding.Avoid(f.nodes[n-1])
		for _, call := range []struct {
			what string
			info *balancer.Info
		}{
			{"without a key", &balancer.Info{}},
			{"with a key", keyed},
			{"that avoids two nodes", avoiding},
		} {
			if got := testing.AllocsPerRun(500, func() { p.Pick(call.info) }); got != 0 {
				return fmt.Errorf("with %d nodes, a call %s: %v allocations in each pick, want 0", n, call.what, got)
			}
		}
	}
	return nil
}

func checkObserve(s *subject) error {
	policy := s.policy()
	f := newFleet(5, even)
	defer f.close()
	p := build(policy, f.nodes, nil)
	gone := f.nodes[4]
	p = build(policy, f.nodes[:4], p)
	o, ok := p.(balancer.Observer)
	if !ok {
		return nil
	}
	for verdict := balancer.Neutral; verdict <= balancer.Suspect; verdict++ {
		for _, latency := range []time.Duration{0, time.Millisecond, time.Hour} {
			for _, n := range []*balancer.Node{f.nodes[0], gone} {
				o.Observe(n, balancer.Outcome{Verdict: verdict}, latency)
			}
			if err := s.picks(p, f.nodes[:4], 20); err != nil {
				return fmt.Errorf("after Observe of %v within %v: %w", verdict, latency, err)
			}
		}
	}
	return nil
}
