package breaker

import (
	"container/list"
	"sync/atomic"
)

// room is the queue of those who wait for a place at an endpoint. It hands out no
// places: who is woken looks for one, since which endpoint it is to be is for a policy
// to say. Until then it keeps its place in the queue.
//
// Nobody is overtaken by one that would take the same places: any of them, or those of
// one endpoint. Whoever leaves wakes the next, since where there was room for one there
// may be room for two; that costs one look in vain for each that is served.
type room struct {
	queue
	open atomic.Int32 // how many wait for any endpoint, for who only looks
}

// join takes a place at the end, if there is one. first reports whether nobody is
// before it who would take the same.
func (r *room) join(only string) (w *waiter, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, err = r.joinLocked(only); err != nil {
		return nil, false, err
	}
	if only != "" {
		return w, r.firstLocked(w), nil
	}
	return w, r.open.Add(1) == 1, nil
}

// firstLocked reports whether nobody before w waits for w's endpoint alone.
func (r *room) firstLocked(w *waiter) bool {
	for e := w.place.Prev(); e != nil; e = e.Prev() {
		if e.Value.(*waiter).only == w.only {
			return false
		}
	}
	return true
}

// leave gives a place up. It may be called more than once.
func (r *room) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.place == nil {
		return
	}
	r.leaveLocked(w)
	if w.only == "" {
		r.open.Add(-1)
	}
	for _, e := range [...]*EndpointLimit{w.where, w.pending()} {
		if e.spare() {
			wakeFor(e, r.list.Front())
		}
	}
	r.wakeNextLocked(w.only)
}

// pending is what the waiter was woken with and has not seen, nil without.
func (w *waiter) pending() *EndpointLimit {
	select {
	case e := <-w.woken:
		return e
	default:
		return nil
	}
}

// wakeNextLocked has the next look that would take the same as one that has left.
func (r *room) wakeNextLocked(only string) {
	for next := r.list.Front(); next != nil; next = next.Next() {
		if w := next.Value.(*waiter); w.only == only {
			w.wake(nil)
			return
		}
	}
}

// missed is called when a waiter found no room where it was woken for some. What is
// none for it may be room for another: one that comes by other connections.
func (r *room) missed(w *waiter) {
	e := w.where
	w.where = nil
	if !e.spare() {
		return // another call was faster
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.place != nil {
		wakeFor(e, w.place.Next())
	}
}

// freed is called when a place at an endpoint was given back.
func (r *room) freed(e *EndpointLimit) {
	if r.len() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wakeFor(e, r.list.Front())
}

// wake has those look who may find room now that there are other endpoints.
func (r *room) wake() {
	if r.len() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	woken := false
	for next := r.list.Front(); next != nil; next = next.Next() {
		if w := next.Value.(*waiter); w.only != "" || !woken {
			woken = w.wake(nil) && w.only == "" || woken
		}
	}
}

// wakeFor wakes the first, from one on, that would take a place at an endpoint.
func wakeFor(e *EndpointLimit, next *list.Element) {
	for ; next != nil; next = next.Next() {
		if w := next.Value.(*waiter); (w.only == "" || w.only == e.id) && w.wake(e) {
			return
		}
	}
}

// wake reports false where the waiter is on its way already.
func (w *waiter) wake(where *EndpointLimit) bool {
	select {
	case w.woken <- where:
		return true
	default:
		return false
	}
}
