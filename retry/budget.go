package retry

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

const budgetWindow = 10 * time.Second

// budget is Finagle's retry budget: retries may be a share of the calls of the
// last ten seconds, and a small reserve on top serves those with few calls.
// It is safe for concurrent use.
type budget struct {
	config Budget
	calls  *rolling.Window // good: calls; bad: retries paid from their share
	low    atomic.Bool     // not even one retry was left when last looked

	mu      sync.Mutex
	reserve float64       // guarded by mu
	filled  monotime.Time // when reserve was last filled; guarded by mu
}

func newBudget(config Budget) *budget {
	b := &budget{
		config:  config,
		calls:   rolling.New(budgetWindow),
		reserve: float64(max(config.Burst, 0)),
	}
	b.left()
	return b
}

// deposit counts a call. now is zero where it is not known.
func (b *budget) deposit(now monotime.Time) {
	if b.config.Ratio == off {
		return
	}
	if now == 0 {
		now = monotime.Now()
	}
	b.calls.AddGood(now)
	if b.low.Load() {
		b.left()
	}
}

// withdraw pays for one retry, if it can.
func (b *budget) withdraw() bool {
	if b.config.Ratio == off {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := monotime.Now()
	left := b.leftLocked(now)
	b.low.Store(left < 2)
	if left < 1 {
		return false
	}
	if b.shareLocked(now) >= 1 {
		b.calls.Add(now, 0, 1)
	} else {
		b.reserve--
	}
	return true
}

// left returns how many retries could be paid for now.
func (b *budget) left() float64 {
	if b.config.Ratio == off {
		return MaxAttempts
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.leftLocked(monotime.Now())
	b.low.Store(left < 1)
	return left
}

// leftLocked adds up whole retries of each kind: half of one and half of the
// other pay for none.
func (b *budget) leftLocked(now monotime.Time) float64 {
	b.fillLocked(now)
	return math.Floor(max(b.shareLocked(now), 0)) + math.Floor(b.reserve)
}

func (b *budget) shareLocked(now monotime.Time) float64 {
	calls, retries := b.calls.Sum(now)
	return b.config.Ratio*float64(calls) - float64(retries)
}

func (b *budget) fillLocked(now monotime.Time) {
	if b.filled != 0 && b.config.PerSecond != off {
		b.reserve = min(b.reserve+b.config.PerSecond*now.Sub(b.filled).Seconds(), float64(max(b.config.Burst, 0)))
	}
	b.filled = now
}
