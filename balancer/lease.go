package balancer

import (
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
)

// Lease is one admitted attempt on one node. It has two ends: Report, when the
// verdict is known, and Release, when the work is over. A Lease is a value so
// that a pick allocates nothing; keep it in one place and use it from one
// goroutine at a time. The zero Lease is released.
type Lease struct {
	node     *Node
	view     *View
	reason   string
	token    any           // of the node's gate
	clock    time.Duration // of monotime: when it began, and once that is known when it was reported; 0: nobody asked
	probe    bool
	reported bool
	answered bool // the verdict was Success
	broken   bool
	gated    bool // the node has a gate: without, what lies beyond the node's own line is not looked at
	limited  bool // it has a place of the node's limit
	waits    bool // it counts among those whose verdict PeakEWMA does not know
}

// Node returns the node to call, nil for the zero or a released Lease.
func (l *Lease) Node() *Node { return l.node }

// Reason says in a few constant words why this node was chosen.
func (l *Lease) Reason() string { return l.reason }

// Probe reports whether this attempt proves a half-open node. Where the call
// can be retried, its answer is due soon.
func (l *Lease) Probe() bool { return l.probe }

// Report tells the verdict. The first Report counts; a later one that says
// Failure means that the answer broke off after a good verdict, and counts as
// one more failure.
func (l *Lease) Report(o Outcome) {
	n := l.node
	if n == nil {
		return
	}
	if l.reported {
		l.broken = l.broken || o.Verdict == Failure
		return
	}
	l.reported = true
	l.answered = o.Verdict == Success
	var now time.Duration
	if l.gated || l.clock != 0 {
		now = sinceEpoch() // for all but gates that read it themselves
	}
	if l.gated {
		if timed := n.gate.timed; timed != nil {
			timed.TimedDone(l.token, o.Verdict, monotime.Time(now))
		} else {
			n.gate.Done(l.token, o)
		}
	}
	if o.Cool > 0 || o.Verdict == Overload || n.overloads.Load() != nil {
		n.heed(o)
	}
	if observe := l.view.balancer.config.Observe; observe != nil {
		observe(n, o)
	}
	if l.probe && o.Verdict == Neutral {
		n.balancer.changedOnCall(n, false) // who waits for a node can be the probe now
	}
	if l.clock != 0 {
		l.view.observe(l, n, o, now)
	}
	l.clock = now
}

// Reported returns when the verdict was reported, by a clock that is the Mesh's own: the
// zero Time where it was not yet, or where neither a gate nor the policy wanted to know.
func (l *Lease) Reported() monotime.Time {
	if !l.reported {
		return 0
	}
	return monotime.Time(l.clock)
}

// Release ends the work. An attempt that was never reported is neutral.
// Releasing twice does nothing.
func (l *Lease) Release() {
	n := l.node
	if n == nil {
		return
	}
	if !l.reported {
		l.Report(Outcome{})
	}
	l.node = nil
	switch {
	case l.answered && l.broken:
		n.balancer.observe(n, Outcome{Verdict: Failure})
		n.gate.Ended(Failure)
	case l.answered && l.gated:
		n.gate.Ended(Success)
	}
	if l.limited {
		l.limited = n.leaveLimit()
	}
	// Adding 2⁶⁴−1 takes one from the calls in flight and leaves the picks.
	if n.counts.Add(^uint64(0))&inFlightMax == 0 && n.left.Load() {
		n.balancer.leave(n)
	}
}

// Undo ends an attempt that did not come about, because its node could not be called
// after all. Unlike after Release, nobody who waits for room at the node's [Limit] is
// woken: there is no more than there was.
func (l *Lease) Undo() {
	if l.limited {
		l.limited = false
		l.node.limit.Undo()
	}
	l.Release()
}

// BecomesStream says that the attempt may last for as long as its caller wants from
// now on: it gives back its place of the node's [Limit].
func (l *Lease) BecomesStream() {
	if l.limited {
		l.limited = l.node.leaveLimit()
	}
}

// leaveLimit gives back a place, and returns false: there is none any more.
func (n *Node) leaveLimit() bool {
	n.limit.Leave()
	return false
}
