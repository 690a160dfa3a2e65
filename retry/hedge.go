package retry

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Hedge says when a call that has no answer yet is sent once more, to another
// endpoint, so that the sooner of the two answers is the call's. The zero value
// means the defaults. Only calls that are safe to repeat are hedged, and each
// hedge is paid for by the budget that retries use.
type Hedge struct {
	// Quantile is the share of answers that are faster than the wait before a
	// hedge, measured over the service's latest calls. 0 means 0.995, at which
	// hedges add half a percent of calls; at least 0.5 and less than 1.
	Quantile float64

	// Min is the shortest wait before a hedge. 0 means 1 ms.
	Min time.Duration

	// After is a fixed wait in the place of the measured one. 0 means that
	// Quantile decides.
	After time.Duration
}

const (
	defaultQuantile = 0.995
	defaultShortest = time.Millisecond

	minQuantile = 0.5
	hedgeEvery  = 3 * time.Second // between two looks at the quantile
	hedgeSpans  = 5               // of that length at least are looked at
	hedgeLeast  = 20              // answers are needed, whatever the quantile
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed.
// After stays 0.
func (h Hedge) WithDefaults() (Hedge, error) {
	switch {
	case h.Quantile != 0 && !(h.Quantile >= minQuantile && h.Quantile < 1):
		return Hedge{}, fmt.Errorf("retry: Hedge.Quantile is %v, want at least %v and less than 1, or 0 (meaning %v)", h.Quantile, minQuantile, defaultQuantile)
	case h.Min < 0:
		return Hedge{}, fmt.Errorf("retry: Hedge.Min is %v, want more than 0, or 0 (meaning %v)", h.Min, defaultShortest)
	case h.After < 0:
		return Hedge{}, fmt.Errorf("retry: Hedge.After is %v, want more than 0, or 0 (meaning that Quantile decides)", h.After)
	}
	if h.Quantile == 0 {
		h.Quantile = defaultQuantile
	}
	if h.Min == 0 {
		h.Min = defaultShortest
	}
	return h, nil
}

// Hedger knows how long the calls of one service wait before they are hedged.
// Make one with [NewHedger]. It is safe for concurrent use, and none of its
// methods blocks.
//
// The wait is a quantile of the latencies of the last 15 s, or of as many calls
// as the quantile needs to mean anything (200 for 0.995), and is measured anew
// every 3 s. Until so many calls were seen there is none, and nothing is hedged.
//
// Source: Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013); the rolling
// quantile and the common budget are Finagle's BackupRequestFilter.
type Hedger struct {
	config Hedge
	need   uint64 // answers, for the quantile to mean anything
	start  time.Time
	wait   atomic.Int64              // 0 while not known
	look   atomic.Int64              // when the quantile is next looked at, since start
	now    atomic.Pointer[latencies] // of the span that runs

	mu   sync.Mutex
	past [hedgeSpans - 1]*latencies // the spans before it, latest first; guarded by mu
}

// NewHedger returns a Hedger that has seen no calls, or an error that names the
// field, its value and what is allowed.
func NewHedger(config Hedge) (*Hedger, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	h := &Hedger{config: config, start: time.Now()}
	h.need = max(uint64(1/(1-config.Quantile)+0.5), hedgeLeast)
	h.now.Store(&latencies{})
	h.look.Store(int64(hedgeEvery))
	return h, nil
}

// Wait returns how long a call waits for an answer before it is hedged, and
// false while that is not known.
func (h *Hedger) Wait() (time.Duration, bool) {
	if h.config.After > 0 {
		return h.config.After, true
	}
	wait := h.wait.Load()
	return time.Duration(wait), wait > 0
}

// Observe takes in how long a call's first attempt took to be answered, or how
// long it had waited when its hedge was faster.
func (h *Hedger) Observe(latency time.Duration) {
	if h.config.After > 0 {
		return
	}
	h.now.Load().add(latency)
	if due := h.look.Load(); int64(time.Since(h.start)) >= due && h.mu.TryLock() {
		defer h.mu.Unlock()
		h.measureLocked()
	}
}

// measureLocked finds the quantile anew, and begins another span once those
// before it hold enough.
func (h *Hedger) measureLocked() {
	now := int64(time.Since(h.start))
	if now < h.look.Load() {
		return // another call was faster
	}
	h.look.Store(now + int64(hedgeEvery))
	var sum latencies
	current := h.now.Load()
	sum.merge(current)
	for _, span := range h.past {
		sum.merge(span)
	}
	if sum.total() < h.need {
		return // the span that runs goes on
	}
	wait := max(sum.quantile(h.config.Quantile), h.config.Min)
	h.wait.Store(int64(wait))
	copy(h.past[1:], h.past[:])
	h.past[0] = current
	h.now.Store(&latencies{})
}

// Hedge reports whether the call may be hedged, in which case the budget has paid.
// It may be called beside the other methods of the Call.
func (c *Call) Hedge() bool { return c.safe && c.policy.budget.withdraw() }
