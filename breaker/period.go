package breaker

import (
	"context"
	"math/rand/v2"
	"time"
)

func (b *Breaker) periodLocked() time.Duration {
	c := &b.group.config
	longest := c.MaxOpenFor
	if b.group.allOpen() {
		longest = min(longest, allOpenMax)
	}
	d := min(c.OpenFor, longest)
	for range b.times {
		if d > longest/2 {
			d = longest
			break
		}
		d *= 2
	}
	return vary(d, longest)
}

// vary returns d ± jitter, at most longest, each such period with the same
// chance: to cut those off that are too long would bring half of all breakers
// at their maximum back in step.
func vary(d, longest time.Duration) time.Duration {
	least := d - d/jitter
	return least + rand.N(min(d/jitter, longest-d)+d/jitter+1)
}

func (b *Breaker) scheduleLocked(d time.Duration) {
	if b.stopped {
		return
	}
	b.until = time.Now().Add(d)
	b.timer = time.AfterFunc(d, b.expire)
}

// expire ends an open period: with a probe, or with another period where the
// check fails.
func (b *Breaker) expire() {
	b.mu.Lock()
	b.timer = nil
	if b.stopped {
		b.mu.Unlock()
		return
	}
	b.checks.Add(1)
	b.mu.Unlock()
	defer b.checks.Done()

	err := b.check()

	b.mu.Lock()
	switch {
	case b.stopped:
	case err != nil:
		b.times++
		b.scheduleLocked(b.periodLocked())
	default:
		b.moveLocked(HalfOpen)
	}
	b.mu.Unlock()
	b.tell()
}

func (b *Breaker) check() error {
	if b.hooks.Check == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(b.ctx, CheckTimeout)
	defer cancel()
	return b.hooks.Check(ctx)
}

// tell calls Changed with the news, in order and on one goroutine at a time:
// whoever comes while another tells, leaves it to that one. So Changed may use
// the breaker.
func (b *Breaker) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.telling {
		return
	}
	b.telling = true
	defer func() { b.telling = false }()
	for len(b.news) > 0 {
		c := b.news[0]
		b.news = b.news[1:]
		b.tellUnlocked(c)
	}
	b.news = nil
}

func (b *Breaker) tellUnlocked(c change) {
	b.mu.Unlock()
	defer b.mu.Lock()
	b.hooks.Changed(c.from, c.to)
}
