package discovery

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	rewatchFirst = 5 * time.Millisecond
	rewatchMax   = 5 * time.Second
	rewatchEvery = time.Second // at most, for a Refresh
)

// follow watches the service until ctx ends, again after a back-off where a
// sequence ended early, and passes on what comes until tell returns false.
//
// It is for readers that must not sleep in a sequence, because they also wait
// for something else: a sequence cannot be interrupted between two yields.
func follow(ctx context.Context, r Resolver, service string, wake <-chan struct{}, tell func(Snapshot, error) bool) {
	for pause := rewatchFirst; ; pause = min(2*pause, rewatchMax) {
		began := time.Now()
		for s, err := range sequence(ctx, r, service) {
			if !tell(s, err) {
				return
			}
		}
		if time.Since(began) > rewatchMax {
			pause = rewatchFirst
		}
		// Between half of it and all: watches that broke at once do not come
		// back in step.
		if !pauseFor(ctx, pause/2+rand.N(pause/2), began, wake) {
			return
		}
	}
}

// pauseFor waits for d, or until it is woken a second after the last watch
// began, and reports whether ctx goes on.
func pauseFor(ctx context.Context, d time.Duration, began time.Time, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-wake: // of the time when it was watched
	default:
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return ctx.Err() == nil
		case <-wake:
			if time.Since(began) >= rewatchEvery {
				return ctx.Err() == nil
			}
		}
	}
}
