package breaker

import (
	"errors"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
)

var errNotGood = errors.New("not a success")

// tellLocked hands a verdict to the machine, which asks excludedLocked,
// succeededLocked and tripLocked what to make of it, but only if the call was
// admitted since the last change of state. It then does what the move asks for.
func (b *Breaker) tellLocked(done token, v verdict) move {
	if b.stopped {
		v = balancer.Neutral
	}
	b.verdict, b.moved = v, stays
	if v == balancer.Success {
		done(nil)
	} else {
		done(errNotGood)
	}
	switch b.moved {
	case trips:
		if time.Since(b.closedAt) < reopenMemory {
			b.times++
		} else {
			b.times = 0
		}
		b.beginLocked()
	case fails:
		b.times++
		b.beginLocked()
	case closes:
		b.closedAt = time.Now()
		b.group.back(b)
	}
	return b.moved
}

// tellMachineLocked has the machine, which is closed, admit a call that is over, and
// hands it the verdict.
func (b *Breaker) tellMachineLocked(v verdict) move {
	done, err := b.machine.Allow()
	if err != nil {
		return stays
	}
	return b.tellLocked(done, v)
}

// follow does what a move asks for once b.mu is free.
func (b *Breaker) follow(m move) {
	if m == trips {
		b.group.hasten()
	}
	if m != stays {
		b.tell()
	}
}

// excludedLocked counts the verdict and reports whether it is to be ignored.
func (b *Breaker) excludedLocked() bool {
	if b.State() == HalfOpen {
		return b.verdict == balancer.Neutral // frees the probe's place
	}
	switch b.verdict {
	case balancer.Success:
		b.streak.Store(0)
		b.window.Add(monotime.Now(), 1, 0)
	case balancer.Failure:
		b.streak.Add(1)
		b.window.Add(monotime.Now(), 0, 1)
	case brokeOff:
		b.broken.Add(1)
		b.window.Add(monotime.Now(), 0, 1)
	case balancer.Suspect:
		b.window.Add(monotime.Now(), 0, 1)
	default:
		return true
	}
	return false
}

// succeededLocked reports whether the verdict is good. From a half-open
// endpoint any answer is: overload and suspicion have rules of their own.
func (b *Breaker) succeededLocked() bool {
	if b.State() == HalfOpen {
		return b.verdict != balancer.Failure
	}
	return b.verdict == balancer.Success
}

// tripLocked applies the two rules to what excludedLocked counted.
func (b *Breaker) tripLocked() bool {
	c := &b.group.config
	failures := int(max(b.streak.Load(), b.broken.Load()))
	if c.ConsecutiveFailures != off && failures >= c.ConsecutiveFailures && b.group.open(b, failures) {
		return true
	}
	if c.SuccessRatio == off {
		return false
	}
	now := monotime.Now()
	rate, samples := b.window.Rate(now)
	if samples < uint64(c.MinSamples) || 1-rate >= c.SuccessRatio || !b.group.worse(now, b.window) {
		return false
	}
	b.group.openWorse(b)
	return true
}

// beginLocked begins an open period.
func (b *Breaker) beginLocked() {
	b.streak.Store(0)
	b.broken.Store(0)
	b.window.Reset()
	b.scheduleLocked(b.periodLocked())
}

func (b *Breaker) moveLocked(to State) {
	if to != Closed {
		b.period.Store(nil)
	}
	from := State(b.state.Swap(uint32(to)))
	if to == Closed {
		b.period.Store(&period{})
	}
	if b.hooks.Changed != nil {
		b.news = append(b.news, change{from, to})
	}
}
