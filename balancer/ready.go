package balancer

import (
	"math/rand/v2"
	"slices"
)

// members is what most pickers are made of: the nodes that were ready when the
// picker was built, with their weights. It is immutable.
type members struct {
	nodes   []*Node
	weights []uint64 // nil where nobody asks for them
	equal   bool     // all weights are the same
}

func readyMembers(all []*Node) members {
	return membersOf(all, (*Node).Ready)
}

// readyNodes is readyMembers for who ignores weights.
func readyNodes(all []*Node) members {
	m := members{equal: true, nodes: make([]*Node, 0, len(all))}
	for _, n := range all {
		if n.Ready() {
			m.nodes = append(m.nodes, n)
		}
	}
	return m
}

func membersOf(all []*Node, candidate func(*Node) bool) members {
	m := members{equal: true, nodes: make([]*Node, 0, len(all)), weights: make([]uint64, 0, len(all))}
	for _, n := range all {
		if !candidate(n) {
			continue
		}
		w := uint64(n.Weight())
		m.nodes = append(m.nodes, n)
		m.weights = append(m.weights, w)
		m.equal = m.equal && w == m.weights[0]
	}
	return m
}

func (m *members) same(other *members) bool {
	return slices.Equal(m.nodes, other.nodes) && slices.Equal(m.weights, other.weights)
}

// other returns a node the call does not avoid, each with the same chance, or
// nil. It is for the rare pick whose first choice is avoided: to go on to the
// next in line would give the whole share of a failing node to its neighbour.
func (m *members) other(info *Info) *Node {
	for range 8 {
		if n := m.nodes[rand.IntN(len(m.nodes))]; !info.Avoids(n) {
			return n
		}
	}
	left, chosen := 0, (*Node)(nil)
	for _, n := range m.nodes {
		if info.Avoids(n) {
			continue
		}
		if left++; rand.IntN(left) == 0 {
			chosen = n
		}
	}
	return chosen
}

// choose returns n, or another node where the call avoids n.
func (m *members) choose(n *Node, info *Info, reason string) Choice {
	if info.Avoids(n) {
		n = m.other(info)
	}
	return Choice{Node: n, Reason: reason}
}
