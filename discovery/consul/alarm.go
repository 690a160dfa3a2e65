package consul

import (
	"math/rand/v2"
	"sync"
	"time"
)

// alarm says that the agent may have been restarted and have forgotten
// everything. One keeper hears it and looks: all of them at once would be a
// burst at each false alarm.
type alarm struct {
	heard chan struct{} // full while nobody has heard it

	mu     sync.Mutex
	raised bool      // and no look has begun since; guarded by mu
	since  time.Time // when it was raised last; guarded by mu
	looked time.Time // when the last look began; guarded by mu
	later  bool      // raiseLater waits; guarded by mu
}

func newAlarm() *alarm { return &alarm{heard: make(chan struct{}, 1)} }

// raise makes one keeper look, soon.
func (a *alarm) raise() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.raised {
		return
	}
	a.raised, a.since = true, time.Now()
	select {
	case a.heard <- struct{}{}:
	default:
	}
}

// raiseLater raises it after d, if still is true then.
func (a *alarm) raiseLater(d time.Duration, still func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.later {
		return
	}
	a.later = true
	time.AfterFunc(d, func() {
		a.mu.Lock()
		a.later = false
		a.mu.Unlock()
		if still() {
			a.raise()
		}
	})
}

// due is when the one who has heard it shall look.
func (a *alarm) due() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return latest(time.Now().Add(rand.N(nudgeWait)), a.looked.Add(nudgeEvery))
}

// raisedAt is when it was raised last.
func (a *alarm) raisedAt() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.since
}

// begin is called when the look begins: what is raised from then on is news.
func (a *alarm) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raised, a.looked = false, time.Now()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
