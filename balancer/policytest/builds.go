package policytest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"weak"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// These are the rules of NewPicker: what it is given, and what it may keep.

var sizes = []int{1, 2, 3, 10, 1000}

// build makes a Picker. What it panics with is what is wrong.
func build(policy balancer.Policy, nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
	p := policy.NewPicker(nodes, prev)
	if p == nil {
		panic(fault(fmt.Sprintf("NewPicker returned nil for %d nodes, want a Picker", len(nodes))))
	}
	return p
}

// fault is what is wrong, where no panic of the policy's was met.
type fault string

func checkName(s *subject) error {
	policy := s.policy()
	name := policy.Name()
	if strings.TrimSpace(name) == "" {
		return fmt.Errorf("the Name is %q, want a name for logs and the status page", name)
	}
	f := newFleet(3, even)
	defer f.close()
	build(policy, f.nodes, nil)
	if again := policy.Name(); again != name {
		return fmt.Errorf("the Name is %q, and was %q before NewPicker", again, name)
	}
	if other := s.policy().Name(); other != name {
		return fmt.Errorf("the Name is %q, and that of another Policy made alike is %q", name, other)
	}
	return nil
}

// foreign is a Picker of nobody's.
type foreign struct{}

func (foreign) Pick(*balancer.Info) balancer.Choice { return balancer.Choice{} }

func checkPrev(s *subject) error {
	policy := s.policy()
	f := newFleet(5, uneven)
	defer f.close()
	var prev balancer.Picker
	for _, step := range []struct {
		what  string
		prev  func() balancer.Picker
		nodes []*balancer.Node
	}{
		{"no prev", func() balancer.Picker { return nil }, f.nodes},
		{"a prev of its own over the same nodes", func() balancer.Picker { return prev }, f.nodes},
		{"a prev of its own over more nodes", func() balancer.Picker { return prev }, f.nodes[:2]},
		{"a prev of its own over fewer nodes", func() balancer.Picker { return prev }, f.nodes},
		{"a prev of another policy", func() balancer.Picker { return foreign{} }, f.nodes},
		{"a prev of another policy that is a pointer", func() balancer.Picker { return &foreign{} }, f.nodes},
	} {
		err := guard(func() error {
			prev = build(policy, step.nodes, step.prev())
			return s.picks(prev, step.nodes, 20)
		})
		if err != nil {
			return fmt.Errorf("with %s: %w", step.what, err)
		}
	}
	return nil
}

// picks makes so many calls, which all have to get one of nodes.
func (s *subject) picks(p balancer.Picker, nodes []*balancer.Node, calls int) error {
	callers := s.callers()
	for range calls {
		if err := wantMember(p.Pick(callers.next()).Node, nodes); err != nil {
			return err
		}
	}
	return nil
}

func wantMember(n *balancer.Node, nodes []*balancer.Node) error {
	switch {
	case n == nil:
		return fmt.Errorf("picked no node, want one of %d", len(nodes))
	case !slices.Contains(nodes, n):
		return fmt.Errorf("picked %q, which is none of the %d nodes that the Picker was made for", n.ID(), len(nodes))
	}
	return nil
}

func checkEmpty(s *subject) error {
	policy := s.policy()
	f := newFleet(3, even)
	defer f.close()
	full := build(policy, f.nodes, nil)
	for _, step := range []struct {
		what  string
		nodes []*balancer.Node
		prev  balancer.Picker
	}{
		{"at the start", nil, nil},
		{"of an empty slice", []*balancer.Node{}, nil},
		{"after all nodes left", []*balancer.Node{}, full},
	} {
		p := build(policy, step.nodes, step.prev)
		for _, info := range []*balancer.Info{s.callers().next(), {}} {
			if n := p.Pick(info).Node; n != nil {
				return fmt.Errorf("%s: picked %q, want no node", step.what, n.ID())
			}
		}
		if err := s.picks(build(policy, f.nodes, p), f.nodes, 20); err != nil {
			return fmt.Errorf("%s, after which nodes joined: %w", step.what, err)
		}
	}
	return nil
}

func checkMembers(s *subject) error {
	policy := s.policy()
	f := newFleet(10, uneven)
	defer f.close()
	picker := build(policy, f.nodes, nil)
	for _, step := range []struct {
		what  string
		nodes []*balancer.Node
	}{
		{"all", f.nodes},
		{"the first has left", f.nodes[1:]},
		{"the last has left and the first is back", f.nodes[:9]},
		{"one in the middle has left", f.without(4)},
		{"another in its place", f.without(5)},
		{"half of them have left", f.nodes[5:]},
		{"the other half in their place", f.nodes[:5]},
		{"one is left", f.nodes[7:8]},
		{"all", f.nodes},
	} {
		picker = build(policy, step.nodes, picker)
		if err := s.picks(picker, step.nodes, 500); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// The two services have endpoints of the same IDs: it is the nodes that differ.
func checkShared(s *subject) error {
	policy := s.policy()
	one, other := newFleet(5, uneven), newFleet(5, uneven)
	defer one.close()
	defer other.close()
	first := build(policy, one.nodes, nil)
	second := build(policy, other.nodes, nil)
	first = build(policy, one.nodes[:4], first)
	if err := s.picks(second, other.nodes, 200); err != nil {
		return fmt.Errorf("after a Picker was made for another service: %w", err)
	}
	if err := s.picks(first, one.nodes[:4], 200); err != nil {
		return fmt.Errorf("after a Picker was made for another service: %w", err)
	}
	return nil
}

func checkSizes(s *subject) error {
	for _, n := range sizes {
		err := guard(func() error {
			f := newFleet(n, even)
			defer f.close()
			return s.picks(build(s.policy(), f.nodes, nil), f.nodes, 1000)
		})
		if err != nil {
			return fmt.Errorf("with %d nodes: %w", n, err)
		}
	}
	return nil
}

// A Picker of ten nodes may take so much, whatever their weights.
const mostBytes = 4 << 20

func checkWeights(s *subject) error {
	most := func(int) int { return discovery.MaxWeight }
	decades := func(i int) int { return []int{1, 10, 100, 1000, 10_000, 100_000, discovery.MaxWeight}[i%7] }
	nearly := func(i int) int { return discovery.MaxWeight - i }
	oneHeavy := func(i int) int { return 1 + i/9%2*(discovery.MaxWeight-1) }
	for _, fleet := range []struct {
		what   string
		n      int
		weight func(int) int
	}{
		{"one node of the largest weight", 1, most},
		{"ten nodes of weight 1 but for one", 10, oneHeavy},
		{"ten nodes of weights from 1 to 1,000,000", 10, decades},
		{"ten nodes of nearly the largest weight", 10, nearly},
		{"a thousand nodes of the largest weight", 1000, most},
		{"a thousand nodes of weights from 1 to 1,000,000", 1000, decades},
		{"a thousand nodes of nearly the largest weight", 1000, nearly},
	} {
		err := guard(func() error { return s.weigh(fleet.n, fleet.weight) })
		if err != nil {
			return fmt.Errorf("%s: %w", fleet.what, err)
		}
	}
	return nil
}

func (s *subject) weigh(n int, weight func(int) int) error {
	f := newFleet(n, weight)
	defer f.close()
	policy := s.policy()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := build(policy, f.nodes, nil)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; n <= 10 && took > mostBytes {
		return fmt.Errorf("a call of NewPicker took %d MiB, want at most %d", took>>20, mostBytes>>20)
	}
	return s.picks(p, f.nodes, 1000)
}

func checkNodes(s *subject) error {
	policy := s.policy()
	f := newFleet(12, uneven)
	defer f.close()
	for i := range 4 {
		set(f.nodes[3*i], balancer.Refusing)
	}
	// What lies behind the slice is not the policy's either.
	whole := slices.Clone(f.nodes)
	given := whole[:9]
	prev := build(policy, slices.Clone(f.nodes), nil)
	for range 2 {
		prev = build(policy, given, prev)
		callers := s.callers()
		for picks := range 200 {
			for i, n := range whole {
				if n != f.nodes[i] {
					return fmt.Errorf("after %d picks, entry %d of the slice of %d nodes is %s, want %q", picks, i, len(given), idOf(n), f.nodes[i].ID())
				}
			}
			info := callers.next()
			info.Avoid(f.nodes[1])
			prev.Pick(info)
		}
	}
	return nil
}

func idOf(n *balancer.Node) string {
	if n == nil {
		return "nil"
	}
	return fmt.Sprintf("%q", n.ID())
}

func checkLeavers(s *subject) error {
	policy := s.policy()
	f := newFleet(6, uneven)
	defer f.close()
	picker, left := s.leave(policy, f)
	err := errors.New("no garbage was collected")
	for range 5 { // what is in a sync.Pool takes two
		runtime.GC()
		if err = alive(left); err == nil {
			break
		}
	}
	runtime.KeepAlive(picker)
	runtime.KeepAlive(policy)
	return err
}

// leave lets all nodes but two leave, one after the other.
//
//go:noinline
func (s *subject) leave(policy balancer.Policy, f *fleet) (balancer.Picker, map[string]weak.Pointer[balancer.Node]) {
	left := make(map[string]weak.Pointer[balancer.Node])
	var picker balancer.Picker
	for n := 6; n >= 2; n-- {
		for _, gone := range f.nodes[n:] {
			left[gone.ID()] = weak.Make(gone)
		}
		f.update(f.endpoints[:n])
		picker = build(policy, slices.Clone(f.nodes), picker)
		callers := s.callers()
		for range 100 {
			picker.Pick(callers.next())
		}
	}
	return picker, left
}

func alive(left map[string]weak.Pointer[balancer.Node]) error {
	var ids []string
	for id, p := range left {
		if p.Value() != nil {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return fmt.Errorf("of %d nodes that left, %q are still referred to, want none", len(left), ids)
}
