package balancer

// Random picks a ready node at random, with a chance in proportion to its
// weight, in constant time (Walker's alias method).
func Random() Policy { return random{} }

type random struct{}

func (random) Name() string { return "random" }

func (random) NewPicker(nodes []*Node, prev Picker) Picker {
	m := readyMembers(nodes)
	if old, ok := prev.(*randomPicker); ok && old.same(&m) {
		return old
	}
	return &randomPicker{members: m, lots: newLots(m.weights, m.equal)}
}

type randomPicker struct {
	members
	lots lots
}

func (p *randomPicker) Pick(info *Info) Choice {
	if len(p.nodes) == 0 {
		return Choice{}
	}
	return p.choose(p.nodes[p.lots.draw()], info, "random")
}
