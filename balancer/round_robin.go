package balancer

// RoundRobin picks the ready nodes in turn, from a random start. It is even
// over the ready nodes and ignores weights. When a node is no longer ready its
// share is spread over all others.
//
// Cores that pick at the very same time take 16 turns at once: each of them then
// calls the nodes in turn by itself, and shares may differ by a call for each core.
func RoundRobin() Policy { return roundRobin{} }

type roundRobin struct{}

func (roundRobin) Name() string { return "round_robin" }

func (roundRobin) patches() {}

func (roundRobin) NewPicker(nodes []*Node, prev Picker) Picker {
	m := readyNodes(nodes)
	if old, ok := prev.(*roundRobinPicker); ok && old.same(&m) {
		return old
	}
	return newRoundRobinPicker(m)
}

func newRoundRobinPicker(m members) *roundRobinPicker {
	p := &roundRobinPicker{members: m}
	p.turns.randomize()
	return p
}

type roundRobinPicker struct {
	members
	turns turns
}

func (p *roundRobinPicker) Pick(info *Info) Choice {
	if len(p.nodes) == 0 {
		return Choice{}
	}
	i := p.turns.take() % uint64(len(p.nodes))
	return p.choose(p.nodes[i], info, "round robin")
}

func (p *roundRobinPicker) patched(t turned) patcher {
	m, ok := p.turn(t)
	if !ok {
		return nil
	}
	return newRoundRobinPicker(m)
}
