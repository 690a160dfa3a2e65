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
	room           room   // those that wait for a place at an endpoint
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

// Endpoint returns the limit of a new endpoint, nil where there is none. id is its
// identity, as a [Want] names it.
func (l *Limiter) Endpoint(id string) *EndpointLimit {
	if l.config.Endpoint == 0 {
		return nil
	}
	return &EndpointLimit{limiter: l, id: id}
}

// Want says which places at endpoints will do, so that those who want the same are
// served in the order of arrival.
type Want struct {
	// By is what they have in common who look among the same endpoints, such as a
	// *balancer.View. It must be comparable; nil is as good as any.
	By any

	// Endpoint is the ID of the only endpoint that will do; empty means any.
	Endpoint string
}

// AwaitRoom takes a place in the queue and calls try, when nobody waits before it who
// wants the same, and then each time that there may be room at an endpoint, until it
// says that not all were full. try looks for room and takes it, and is not to do the
// work as well: as long as it runs, those who come later wait.
//
// The error is ErrLimit where the queue is full, when try is not called, or stop,
// which may be nil, is closed, and ErrLimit wrapped with the cause where ctx ends.
func (l *Limiter) AwaitRoom(ctx context.Context, stop <-chan struct{}, want Want, try func() (full bool)) error {
	w, first, err := l.room.join(want)
	if err != nil {
		return err
	}
	defer l.room.leave(w)
	for look := first; ; look = true {
		if look {
			if !try() {
				return nil
			}
			l.room.missed(w)
		}
		if err := w.wait(ctx, stop); err != nil {
			return err
		}
	}
}

// Queued reports whether calls wait that want the same, so that one more is not to
// look for itself.
func (l *Limiter) Queued(want Want) bool { return l.room.queued(want) }

// Wake has those who wait for room at an endpoint look again: there may be another
// endpoint by now.
func (l *Limiter) Wake() { l.room.wake() }

var _ balancer.Limit = (*EndpointLimit)(nil)

// EndpointLimit is the limit of one endpoint. It is safe for concurrent use and
// does not block.
type EndpointLimit struct {
	limiter *Limiter
	id      string
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
	e.limiter.room.freed(e)
}

// Undo gives a place back that was of no use, and wakes nobody.
func (e *EndpointLimit) Undo() { e.used.Add(-1) }

// spare reports whether there is a place; there is none at a nil endpoint.
func (e *EndpointLimit) spare() bool {
	return e != nil && e.used.Load() < int64(e.limiter.config.Endpoint)
}
