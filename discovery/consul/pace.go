package consul

import (
	"context"
	"time"
)

// No watch asks faster than this, whatever the agent does: paceBurst queries
// at once, then one per paceEvery. A query that brought news counts only a
// fifth, so that a rollout is followed closely while an index that moves for
// nothing costs the agent little. An answer of largeAnswer bytes is followed by
// a pause of paceEvery in any case.
const (
	paceBurst   = 10
	paceEvery   = time.Second
	paceRefund  = paceEvery * 4 / 5
	largeAnswer = 1 << 20
)

// pace is a token bucket, kept as the moment at which it is full again.
type pace struct {
	full     time.Time
	earliest time.Time
}

// wait blocks until the next query may start, or ctx ends.
func (p *pace) wait(ctx context.Context) error {
	now := time.Now()
	start := p.start(now)
	p.count(start)
	return sleep(ctx, start.Sub(now))
}

// free reports whether a query may start now, and counts it if so.
func (p *pace) free() bool {
	now := time.Now()
	if p.start(now).After(now) {
		return false
	}
	p.count(now)
	return true
}

// start is when the next query may start.
func (p *pace) start(now time.Time) time.Time {
	start := now
	if t := p.full.Add(-(paceBurst - 1) * paceEvery); t.After(start) {
		start = t
	}
	if p.earliest.After(start) {
		start = p.earliest
	}
	return start
}

func (p *pace) count(start time.Time) {
	if p.full.Before(start) {
		p.full = start
	}
	p.full = p.full.Add(paceEvery)
}

// arrived is told the size of each answer.
func (p *pace) arrived(size int) {
	if size >= largeAnswer {
		p.earliest = time.Now().Add(paceEvery)
	}
}

// refund is called when a query brought news.
func (p *pace) refund() { p.full = p.full.Add(-paceRefund) }

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
