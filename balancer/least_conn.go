package balancer

import "math/rand/v2"

// LeastConn picks the ready node with the fewest calls in flight in relation to
// its weight, breaking ties at random: (calls+1)/weight is least. It counts
// active calls rather than connections; streams and upgraded connections count
// until they end (nginx's least_conn).
//
// It scans every node: use P2C above about 50 endpoints.
func LeastConn() Policy { return leastConn{} }

type leastConn struct{}

func (leastConn) Name() string { return "least_conn" }

func (leastConn) patches() {}

func (leastConn) NewPicker(nodes []*Node, _ Picker) Picker {
	return &leastConnPicker{readyMembers(nodes)}
}

type leastConnPicker struct{ members }

func (p *leastConnPicker) Pick(info *Info) Choice {
	var best *Node
	var load, weight uint64
	var ties uint64
	var random uint64
	avoiding := !info.tried.empty() || !info.refused.empty()
	for i, n := range p.nodes {
		if avoiding && info.Avoids(n) {
			continue
		}
		l, w := n.counts.Load()&inFlightMax+1, p.weights[i]
		// l/w against load/weight, without dividing.
		switch mine, least := l*weight, load*w; {
		case best == nil || mine < least:
			best, load, weight, ties = n, l, w, 1
		case mine == least:
			if ties == 1 {
				random = rand.Uint64()
			}
			ties++
			// Of k equal nodes the last takes over in one case of k.
			random = random*6364136223846793005 + 1442695040888963407
			if random>>32*ties>>32 == 0 {
				best, load, weight = n, l, w
			}
		}
	}
	return Choice{Node: best, Reason: "fewest calls in flight"}
}

func (p *leastConnPicker) patched(t turned) patcher {
	m, ok := p.turn(t)
	if !ok {
		return nil
	}
	return &leastConnPicker{m}
}
