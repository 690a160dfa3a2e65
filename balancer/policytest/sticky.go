package policytest

import (
	"fmt"

	"github.com/fairlead-go/fairlead/balancer"
)

// These are the rules of policies that go by a key.

const keys = 5000

// A node that joins may take so many times its fair share of the keys.
const greed = 3

var stickySizes = []int{3, 10, 40}

// homes returns the node of each of many keys, always the same ones.
func (s *subject) homes(p balancer.Picker) []*balancer.Node {
	callers := s.callers()
	nodes := make([]*balancer.Node, keys)
	for i := range nodes {
		nodes[i] = p.Pick(callers.next()).Node
	}
	return nodes
}

func checkSticky(s *subject) error {
	for _, n := range stickySizes {
		if err := s.checkMoves(n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
	}
	return nil
}

func (s *subject) checkMoves(size int) error {
	f := newFleet(size, uneven)
	defer f.close()
	policy, middle := s.policy(), size/2
	one := f.nodes[middle]
	fair := max(1/float64(size), byWeight(one)/float64(weightOf(f.nodes)))
	p := build(policy, f.nodes, nil)
	home := s.homes(p)
	for _, step := range []struct {
		what  string
		nodes []*balancer.Node
		state balancer.GateState
		moves float64
		due   *balancer.Node // whose keys may come or go
	}{
		{"asked again", nil, balancer.Admitting, 0, nil},
		{"after a build that changed nothing", f.nodes, balancer.Admitting, 0, nil},
		{"after a node was no longer ready", f.nodes, balancer.Refusing, s.moves, one},
		{"after it was ready again", f.nodes, balancer.Admitting, s.moves, one},
		{"after a node left", f.without(middle), balancer.Admitting, s.moves, one},
		{"after a node joined", f.nodes, balancer.Admitting, s.moves, one},
	} {
		set(one, step.state)
		if step.nodes != nil {
			p = build(policy, step.nodes, p)
		}
		next := s.homes(p)
		if err := compare(home, next, step.moves, step.due); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if taken := taken(home, next, step.due); taken > greed*fair {
			return fmt.Errorf("%s: it took %.4f of the keys from the others, its fair share is %.4f", step.what, taken, fair)
		}
		home = next
	}
	return nil
}

// compare looks for keys that moved, but for those that came from due or went to it.
func compare(before, after []*balancer.Node, most float64, due *balancer.Node) error {
	moved, all := 0, 0
	for i, home := range before {
		if due != nil && (home == due || after[i] == due) {
			continue
		}
		all++
		if after[i] != home {
			moved++
		}
	}
	if share := float64(moved) / float64(max(all, 1)); share > most {
		return fmt.Errorf("%.4f of the keys moved that had no need to (%d of %d), want at most %v", share, moved, all, most)
	}
	return nil
}

// taken is the share of all keys that went to due from other nodes.
func taken(before, after []*balancer.Node, due *balancer.Node) float64 {
	n := 0
	for i := range before {
		if due != nil && after[i] == due && before[i] != due {
			n++
		}
	}
	return float64(n) / float64(len(before))
}

func weightOf(nodes []*balancer.Node) (sum int) {
	for _, n := range nodes {
		sum += n.Weight()
	}
	return sum
}

func checkConsistent(s *subject) error {
	for _, n := range stickySizes {
		one, other := newFleet(n, uneven), newFleet(n, uneven)
		err := s.compareClients(one, other)
		one.close()
		other.close()
		if err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
	}
	return nil
}

// compareClients lets the other client come by its nodes in a roundabout way.
func (s *subject) compareClients(one, other *fleet) error {
	mine := s.homes(build(s.policy(), one.nodes, nil))
	policy, last := s.policy(), len(other.nodes)-1
	p := build(policy, other.without(0), nil)
	s.homes(p)
	p = build(policy, other.without(last), p)
	set(other.nodes[last], balancer.Refusing)
	p = build(policy, other.nodes, p)
	s.homes(p)
	set(other.nodes[last], balancer.Admitting)
	theirs := s.homes(build(policy, other.nodes, p))
	differ := 0
	for i, n := range mine {
		if n == nil || theirs[i] == nil || n.ID() != theirs[i].ID() {
			differ++
		}
	}
	if differ > 0 {
		return fmt.Errorf("of %d keys, %d go elsewhere from another client, want none", keys, differ)
	}
	return nil
}
