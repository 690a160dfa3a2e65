package balancer

import (
	"slices"
	"testing"
)

// The set holds what was added, once and in order, however much that is.
func TestNodeSet(t *testing.T) {
	nodes := make([]*Node, 6)
	for i := range nodes {
		nodes[i] = &Node{}
	}
	for n := range nodes {
		var s nodeSet
		if !s.empty() {
			t.Fatal("a new set is not empty")
		}
		for _, node := range append(nodes[:n:n], nodes[:n]...) { // again
			s.add(node)
		}
		if got := slices.Collect(s.all); !slices.Equal(got, nodes[:n]) || s.empty() != (n == 0) {
			t.Errorf("of %d nodes there are %d", n, len(got))
		}
		for i, node := range nodes {
			if s.has(node) != (i < n) {
				t.Errorf("of %d nodes, it has node %d: %v", n, i, s.has(node))
			}
		}
		for range s.all {
			break // no more is asked for
		}
	}
}

func TestInfoAvoidsTwoWithoutAllocation(t *testing.T) {
	a, b := &Node{}, &Node{}
	if n := testing.AllocsPerRun(100, func() {
		var info Info
		info.Avoid(a)
		info.Avoid(b)
		if !info.Avoids(a) || !info.Avoids(b) || info.Avoids(nil) {
			t.Error("it avoids others than it was told")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
