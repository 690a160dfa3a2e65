package breaker

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// queue is who waits, first come first served.
type queue struct {
	most int
	n    atomic.Int32 // as the list's length, for who only looks

	mu   sync.Mutex
	list list.List // of *waiter; guarded by mu
}

// waiter is woken by a value in its channel, which holds one.
type waiter struct {
	woken chan *EndpointLimit // where there may be room, nil meaning anywhere
	place *list.Element       // guarded by queue.mu; nil when it has left

	want  Want           // of a room's
	where *EndpointLimit // what it was woken with last; its own
}

func (q *queue) len() int { return int(q.n.Load()) }

// joinLocked takes a place at the end, if there is one.
func (q *queue) joinLocked(want Want) (*waiter, error) {
	if q.list.Len() >= q.most {
		return nil, ErrLimit
	}
	w := &waiter{woken: make(chan *EndpointLimit, 1), want: want}
	w.place = q.list.PushBack(w)
	q.n.Add(1)
	return w, nil
}

func (q *queue) leaveLocked(w *waiter) {
	if w.place != nil {
		q.list.Remove(w.place)
		w.place = nil
		q.n.Add(-1)
	}
}

// wait returns when the waiter is woken, or with why that is not waited for.
func (w *waiter) wait(ctx context.Context, stop <-chan struct{}) error {
	select {
	case w.where = <-w.woken:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrLimit, context.Cause(ctx))
	case <-stop:
		return ErrLimit
	}
}

// slots are so many places. A nil *slots has no end of them.
type slots struct {
	waiters queue
	free    int // guarded by waiters.mu
}

func newSlots(n, most int) *slots {
	if n == 0 {
		return nil
	}
	return &slots{free: n, waiters: queue{most: most}}
}

func (s *slots) waiting() int {
	if s == nil {
		return 0
	}
	return s.waiters.len()
}

func (s *slots) acquire(ctx context.Context, stop <-chan struct{}) error {
	if s == nil {
		return nil
	}
	q := &s.waiters
	q.mu.Lock()
	if s.free > 0 {
		s.free--
		q.mu.Unlock()
		return nil
	}
	w, err := q.joinLocked(Want{})
	q.mu.Unlock()
	if err != nil {
		return err
	}
	err = w.wait(ctx, stop)
	if err == nil {
		return nil // the place was handed over
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.place == nil {
		s.releaseLocked() // it was handed over at the same moment
	} else {
		q.leaveLocked(w)
	}
	return err
}

func (s *slots) release() {
	if s == nil {
		return
	}
	s.waiters.mu.Lock()
	defer s.waiters.mu.Unlock()
	s.releaseLocked()
}

// releaseLocked hands a place over to who has waited longest, or keeps it.
func (s *slots) releaseLocked() {
	first := s.waiters.list.Front()
	if first == nil {
		s.free++
		return
	}
	w := first.Value.(*waiter)
	s.waiters.leaveLocked(w)
	w.woken <- nil
}
