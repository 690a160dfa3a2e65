package breaker

import (
	"context"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/balancer"
)

// Limiter limits what is in flight of one service. Make one with [NewLimiter]. It
// is safe for concurrent use.
type Limiter struct {
	config         Limit
	calls, streams *slots // nil without a limit
	room           queue  // those that wait for room at an endpoint
}

// NewLimiter returns a Limiter of which nothing is used, or an error that names the
// field, its value and what is allowed.
func NewLimiter(config Limit) (*Limiter, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	l := &Limiter{config: config}
	l.room.most = max(config.Queue, 0)
	l.calls = newSlots(config.Service, l.room.most)
	l.streams = newSlots(config.Streams, l.room.most)
	return l, nil
}

// Acquire waits for a place for a call, in the order of arrival, until ctx ends or
// stop, which may be nil, is closed. The error is ErrLimit, wrapped with the cause of
// ctx's end if that was it. What was acquired is to be released.
func (l *Limiter) Acquire(ctx context.Context, stop <-chan struct{}) error {
	return l.calls.acquire(ctx, stop)
}

// Release gives a call's place to the next. It is called once for each Acquire that
// returned nil, and does not block.
func (l *Limiter) Release() { l.calls.release() }

// AcquireStream is Acquire for a stream.
func (l *Limiter) AcquireStream(ctx context.Context, stop <-chan struct{}) error {
	return l.streams.acquire(ctx, stop)
}

// ReleaseStream gives a stream's place to the next.
func (l *Limiter) ReleaseStream() { l.streams.release() }

// Waiting returns how many calls and streams wait.
func (l *Limiter) Waiting() int { return l.calls.waiting() + l.streams.waiting() + l.room.len() }

// Endpoint returns the limit of a new endpoint, nil where there is none.
func (l *Limiter) Endpoint() *EndpointLimit {
	if l.config.Endpoint == 0 {
		return nil
	}
	return &EndpointLimit{limiter: l}
}

// AwaitRoom takes a place in the queue and calls try, at once and then each time that
// room may have come about at an endpoint, until it says that not all were full. Those
// who wait are called in the order of arrival. The error is ErrLimit where the queue is
// full, when try is not called, or stop, which may be nil, is closed, and ErrLimit
// wrapped with the cause where ctx ends.
func (l *Limiter) AwaitRoom(ctx context.Context, stop <-chan struct{}, try func() (full bool)) error {
	w, err := l.room.join()
	if err != nil {
		return err
	}
	defer l.room.leave(w)
	woken := false
	for try() { // also at once: room may have come about before we joined
		if woken {
			l.room.wakeAfter(w) // the place is none for us, but may be one for another
		}
		if err := w.wait(ctx, stop); err != nil {
			return err
		}
		woken = true
	}
	l.room.pass(w) // where there is room for one, there may be room for two
	return nil
}

// Wake has those who wait for room at an endpoint look again: there may be another
// endpoint by now.
func (l *Limiter) Wake() { l.room.wake() }

var _ balancer.Limit = (*EndpointLimit)(nil)

// EndpointLimit is the limit of one endpoint. It is safe for concurrent use and
// does not block.
type EndpointLimit struct {
	limiter *Limiter
	used    atomic.Int64
}

// Enter takes a place for an attempt, or returns ErrLimit.
func (e *EndpointLimit) Enter() error {
	// Not by adding first: for a moment, the one that finds no room would take it
	// from one that is to find some, and who then waits is woken by nobody.
	for {
		n := e.used.Load()
		if n >= int64(e.limiter.config.Endpoint) {
			return ErrLimit
		}
		if e.used.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// Leave gives a place back.
func (e *EndpointLimit) Leave() {
	e.used.Add(-1)
	e.limiter.room.wake()
}
