package health

import (
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// Outlier is what an [Ejector] knows of one endpoint, which may be none. It is
// safe for concurrent use.
type Outlier struct {
	ejector *Ejector
	node    *balancer.Node
	streak  atomic.Int32  // failures in a row
	counts  atomic.Uint64 // since the last look: good calls in the upper half, bad ones in the lower

	// Guarded by Ejector.mu.
	rate    float64 // of success, at the last look
	samples uint64  // at the last look
	out     bool
	times   int // ejected, less the intervals without
	period  time.Duration
	timer   *time.Timer // nil unless out
	removed bool
}

// Observe takes in what became of an attempt. Neutral outcomes and overload say
// nothing of an endpoint's health, and a suspect one counts in the rates alone.
func (o *Outlier) Observe(outcome balancer.Outcome) {
	const good, bad = 1 << 32, 1
	switch outcome.Verdict {
	case balancer.Success:
		o.counts.Add(good)
		if o.streak.Load() != 0 {
			o.streak.Store(0)
		}
	case balancer.Suspect:
		o.counts.Add(bad)
	case balancer.Failure:
		o.counts.Add(bad)
		n := o.streak.Add(1)
		if limit := o.ejector.config.Consecutive; limit != off && int(n)%limit == 0 {
			o.eject()
		}
	}
}

// Remove takes the endpoint out: its timer ends, and it is ejected no more. What its
// node was advised stays, so it is for a node that leaves. It may be called twice and
// does not block.
func (o *Outlier) Remove() {
	e := o.ejector
	e.mu.Lock()
	defer e.mu.Unlock()
	o.stopLocked()
	if o.removed {
		return
	}
	o.removed = true
	for i, other := range e.members {
		if other == o {
			last := len(e.members) - 1
			e.members[i], e.members[last] = e.members[last], nil
			e.members = e.members[:last]
			break
		}
	}
}

func (o *Outlier) stopLocked() {
	if o.timer != nil {
		o.timer.Stop()
	}
	if o.out {
		o.out = false
		o.ejector.ejected--
	}
}

// rateLocked takes the counts since the last look.
func (o *Outlier) rateLocked() {
	counts := o.counts.Swap(0)
	good, bad := counts>>32, counts&(1<<32-1)
	o.samples, o.rate = good+bad, 1
	if o.samples > 0 {
		o.rate = float64(good) / float64(o.samples)
	}
}

// eject ejects the endpoint for its streak.
func (o *Outlier) eject() {
	o.ejector.mu.Lock()
	ejected := o.ejectLocked()
	o.ejector.mu.Unlock()
	if ejected {
		o.tell()
	}
}

func (o *Outlier) ejectLocked() bool {
	e := o.ejector
	if o.out || o.removed || e.closed || !e.roomLocked(o) {
		return false
	}
	o.out = true
	e.ejected++
	o.times++
	o.period = e.config.MaxTime
	if int64(o.times) <= int64(e.config.MaxTime/e.config.BaseTime) {
		o.period = time.Duration(o.times) * e.config.BaseTime
	}
	o.streak.Store(0)
	o.timer = time.AfterFunc(o.period, o.readmit)
	return true
}

// tell brings what was decided to the node, and again where it was decided anew
// meanwhile.
func (o *Outlier) tell() {
	for told, first := false, true; ; first = false {
		o.ejector.mu.Lock()
		out, period := o.out, o.period
		o.ejector.mu.Unlock()
		if !first && told == out {
			return
		}
		told = out
		o.node.Advise(balancer.OutlierAmongPeers, out)
		if !out {
			period = 0
		}
		o.ejector.changed(o.node, period)
	}
}

// readmit ends an ejection.
func (o *Outlier) readmit() {
	o.ejector.mu.Lock()
	if !o.out {
		o.ejector.mu.Unlock()
		return
	}
	o.out = false
	o.ejector.ejected--
	o.streak.Store(0)
	o.counts.Store(0)
	o.ejector.mu.Unlock()
	o.tell()
}
