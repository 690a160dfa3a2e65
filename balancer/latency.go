package balancer

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
)

// latency is what PeakEWMA knows of a node. It belongs to the node rather than to
// a picker, so that all views know it and it survives their pickers. Times are
// of monotime. It is safe for concurrent use and takes no lock.
type latency struct {
	node *Node

	// average holds the average latency in nanoseconds, a float32, in the upper
	// half, and in the lower the time it is of, in units of 2²⁰ ns modulo 2³². It is
	// 0 while nothing is known.
	average atomic.Uint64

	// waits holds the number of attempts whose verdict is not known in the lower 20
	// bits, and above them when the last became known, or when those that wait
	// began to, in units of 2¹⁰ ns modulo 2⁴⁴. An attempt writes it twice.
	waits atomic.Uint64

	owed atomic.Int64 // when the node is due a call whatever its latency, 0 without penalty
}

const (
	averageUnit = 20 // in bits
	waitsUnit   = 10 // in bits
	waitsBits   = 20
	waitsMax    = 1<<waitsBits - 1
)

// sinceEpoch is monotime.Now in the type of what is reckoned with it.
func sinceEpoch() time.Duration { return time.Duration(monotime.Now()) }

// forget forgets the history of a node whose trouble is over.
func (l *latency) forget() {
	l.pardon()
	l.average.Store(0)
}

func packed(now time.Duration, nanoseconds float64) uint64 {
	return uint64(math.Float32bits(float32(nanoseconds)))<<32 | uint64(uint32(now>>averageUnit))
}

func unpacked(word uint64, now time.Duration) (nanoseconds float64, age time.Duration) {
	units := int64(int32(uint32(now>>averageUnit) - uint32(word)))
	switch {
	case units >= 0:
	case units > -1<<16:
		units = 0 // another call was later by a moment
	default:
		units = math.MaxInt32 // it is so old that the time of it came round again
	}
	return float64(math.Float32frombits(uint32(word >> 32))), time.Duration(units) << averageUnit
}

// fresh is the age to which an average has decayed too little to look.
const fresh = 20 * time.Millisecond

// decay is the weight of what is of that age: e to the power of −age/tau.
func decay(age time.Duration) float64 {
	x := float64(age) * (1 / float64(ewmaTau))
	if x < 0.1 {
		// As good as a float32 can tell, and much faster.
		return 1 - x*(1-x*(1./2-x*(1./6-x*(1./24))))
	}
	return math.Exp(-x)
}

// expected is the average, and for how long attempts have been waiting already:
// that is the least which another has to expect. The average is decayed to now
// unless attempts wait: what a node was like is not forgotten for its making them wait.
func (l *latency) expected(now time.Duration) (average, waiting float64) {
	average, age := unpacked(l.average.Load(), now)
	if waits := l.waits.Load(); waits&waitsMax > 0 {
		return average, float64(int64(waitsSince(now)-waits&^waitsMax) >> waitsBits << waitsUnit)
	}
	if age >= fresh {
		average *= decay(age)
	}
	return average, 0
}

// value is the average, decayed to now unless attempts wait.
func (l *latency) value(now time.Duration) float64 {
	average, _ := l.expected(now)
	return average
}

func waitsSince(now time.Duration) uint64 { return uint64(now) >> waitsUnit << waitsBits }

// start is told that an attempt begins to wait.
func (l *latency) start(now time.Duration) {
	for {
		waits := l.waits.Load()
		next := waits + 1
		if waits&waitsMax == 0 {
			next = waitsSince(now) + 1
		}
		if l.waits.CompareAndSwap(waits, next) {
			return
		}
	}
}

// end is told the verdict of an attempt that began.
func (l *latency) end(o Outcome, now, took time.Duration) {
	if o.Verdict == Neutral {
		l.waits.Add(^uint64(0))
	} else {
		l.answered(now, 1)
	}
	l.learn(o, now, took)
}

// answered is told that the verdict of some attempts is known now.
func (l *latency) answered(now time.Duration, attempts uint64) {
	for {
		waits := l.waits.Load()
		if l.waits.CompareAndSwap(waits, waitsSince(now)+waits&waitsMax-attempts) {
			return
		}
	}
}

// learn takes in a verdict. Where there is none, because nobody waited for it,
// it would have taken longer still.
func (l *latency) learn(o Outcome, now, took time.Duration) {
	switch o.Verdict {
	case Neutral:
		if o.Overtaken {
			l.overtaken(now, took)
		} else {
			l.follow(now, float64(took), true)
		}
		return
	case Overload:
		l.follow(now, float64(took), true) // that it was fast is no praise; the rest is up to cooling
	case Failure:
		l.penalize(now)
		l.follow(now, float64(max(took, ewmaPenalty)), false)
	default:
		if l.owed.Load() != 0 {
			l.pardon()
			l.average.Store(packed(now, max(float64(took), 1)))
		} else {
			l.follow(now, float64(took), false)
		}
	}
}

// overtaken takes in an attempt that a hedge overtook: it would have taken longer, who
// knows how much. Else the node would look no slower than what hedges wait for, so each
// doubles the average; but not those that waited beside one another, which tell of one
// moment only. A node that was found so slow is owed a call, as one that failed is.
func (l *latency) overtaken(now, took time.Duration) {
	average, age := unpacked(l.average.Load(), now)
	if average == 0 || took >= age {
		l.follow(now, float64(min(2*took, ewmaPenalty)), average != 0)
		return
	}
	l.penalize(now)
	l.follow(now, min(2*max(float64(took), l.value(now)), float64(ewmaPenalty)), true)
}

// follow moves the average towards a latency: at once if that is higher.
func (l *latency) follow(now time.Duration, took float64, upOnly bool) {
	for {
		word := l.average.Load()
		average, age := unpacked(word, now)
		weight, next := 1., took
		if age > 0 {
			weight = decay(age)
		}
		switch {
		case upOnly && (word == 0 || took <= average*weight):
			return
		case took > average*weight:
		case age == 0:
			return // the weight of a moment
		default:
			next = average*weight + took*(1-weight)
		}
		if l.average.CompareAndSwap(word, packed(now, max(next, 1))) {
			return
		}
	}
}

// penalize has the node be owed a call from the next period on.
func (l *latency) penalize(now time.Duration) {
	if l.owed.CompareAndSwap(0, int64(now+owedAfter)) {
		l.node.balancer.owing.Add(1)
		if l.node.left.Load() {
			l.pardon()
		}
	}
}

// pardon ends the penalty, if there is one.
func (l *latency) pardon() {
	if l.owed.Swap(0) != 0 {
		l.node.penalties.Store(0)
		l.node.balancer.owing.Add(-1)
	}
}

// due reports whether the node is owed a call now, which is granted once.
func (l *latency) due(now time.Duration) bool {
	at := l.owed.Load()
	if at == 0 || int64(now) < at {
		return false
	}
	next := min(owedAfter<<min(l.node.penalties.Load()+1, 10), owedMax)
	if !l.owed.CompareAndSwap(at, int64(now+next)) {
		return false
	}
	l.node.penalties.Add(1)
	return true
}
