package balancer

import "time"

// PeakEWMA draws two different ready nodes at random and picks the one at which
// the call will wait less: whose latency, times the calls in flight there with
// this one, is smaller. It finds out by itself which endpoints are slow, for
// whatever reason, and costs more than P2C, which looks at calls in flight alone.
//
// A node's latency is the time to the verdict on its attempts: the headers of an
// answer. It follows a higher one at once and a lower one slowly, by a moving
// average whose weight decays with a time constant of 10 s, and decays while
// nobody calls. A node of which nothing is known is taken to be as fast as the one
// it is compared with. While attempts wait for their verdict, the time since the
// node's last one counts as latency, so that a node which has come to a halt is left
// alone before its first late answer. A long answer does no harm: its verdict is
// known. Nor does a stream ([Info.Stream]), which may be silent for hours: only that
// it failed counts.
//
// A failed attempt counts as one of 5 s, so that fast failures attract nobody. So
// that such a node is not left alone for ever, it is owed one call after 1 s, of
// those that can be retried, and then after twice as long each time, up to 10 s; a
// success makes its latency that of the success. An attempt whose verdict is neutral
// or overload can raise the average only. One that a hedge overtook would have taken
// longer, and nobody knows how much: it counts as twice what it took, and if it began
// after the average last changed it doubles that, up to 5 s, and the node is owed a
// call.
//
// A weight counts in the draw and divides the calls in flight. Latencies under
// 100 µs are all alike, and ties are broken as P2C breaks them.
//
// Source: Finagle's Peak EWMA, which is Linkerd's too; the penalty is the SRE
// book's answer to sinkholes (chapter 20), in latency.
func PeakEWMA() Policy { return peakEWMA{} }

const (
	ewmaTau     = 10 * time.Second
	ewmaLeast   = 100 * time.Microsecond
	ewmaPenalty = 5 * time.Second // the latency of a failed attempt

	owedAfter = time.Second // under a penalty, doubling
	owedMax   = 10 * time.Second
)

type peakEWMA struct{}

func (peakEWMA) Name() string { return "peak_ewma" }

func (peakEWMA) patches() {}

func (peakEWMA) NewPicker(nodes []*Node, prev Picker) Picker {
	m := readyMembers(nodes)
	if old, ok := prev.(*peakPicker); ok && old.same(&m) {
		return old
	}
	p := &peakPicker{}
	p.init(m)
	for i := range m.nodes {
		p.meanWeight += float64(m.weights[i]) / float64(len(m.nodes))
	}
	return p
}

// peakPicker breaks ties as P2C does.
type peakPicker struct {
	p2cPicker
	meanWeight float64
}

var _ Observer = (*peakPicker)(nil)

func (p *peakPicker) Pick(info *Info) Choice { return p.pick(info, sinceEpoch()) }

func (p *peakPicker) pick(info *Info, now time.Duration) Choice {
	if len(p.seats) < 2 || !info.tried.empty() || !info.refused.empty() {
		return p.p2cPicker.Pick(info) // a retry goes anywhere but where it failed
	}
	i, j := two(&p.lots, p.equal)
	a, b := &p.seats[i], &p.seats[j]
	if info.Retryable {
		switch {
		case a.node.latency.due(now):
			return Choice{Node: a.node, Reason: "owed a call"}
		case b.node.latency.due(now):
			return Choice{Node: b.node, Reason: "owed a call"}
		}
	}
	x, y := p.waits(now, a, b)
	if x == y {
		return Choice{Node: p.better(a, b), Reason: "faster of two"}
	}
	n, other := a.node, b.node
	if y < x {
		n = other
	}
	return Choice{Node: n, Reason: "faster of two"}
}

// waits is how long a call to either node will wait. The draw has seen to weights
// as long as nothing is in flight.
func (p *peakPicker) waits(now time.Duration, a, b *seat) (x, y float64) {
	x, stalledA := a.node.latency.expected(now)
	y, stalledB := b.node.latency.expected(now)
	switch {
	case x == 0:
		x = y // nothing is known of it
	case y == 0:
		y = x
	}
	least := float64(ewmaLeast)
	return max(x, least, stalledA) * p.load(a), max(y, least, stalledB) * p.load(b)
}

// load is the number of calls at a node with the one that is picked for.
func (p *peakPicker) load(s *seat) float64 {
	inFlight := float64(s.node.counts.Load() & inFlightMax)
	if p.equal {
		return inFlight + 1
	}
	return inFlight*p.meanWeight/float64(s.weight) + 1
}

// Observe is for who wraps the policy: what waits is not known then.
func (p *peakPicker) Observe(n *Node, o Outcome, latency time.Duration) {
	now := sinceEpoch()
	n.latency.learn(o, now, latency)
	if o.Verdict != Neutral {
		n.latency.answered(now, 0)
	}
}

func (p *peakPicker) patched(t turned) patcher {
	fresh := &peakPicker{meanWeight: p.meanWeight}
	if !fresh.patch(&p.p2cPicker, t) {
		return nil
	}
	return fresh
}
