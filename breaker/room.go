package breaker

import "container/list"

// room is the queue of those who wait for a place at an endpoint. It hands out no
// places: who is woken looks for one, since which endpoint it is to be is for a policy
// to say. Until then it keeps its place in the queue.
//
// Nobody is overtaken by one that wants the same. Whoever leaves wakes the next of
// these, since where there was room for one there may be room for two; that costs one
// look in vain for each that is served.
type room struct {
	queue
	wants map[Want]int // how many want the same; guarded by mu
}

// join takes a place at the end, if there is one. first reports whether nobody is
// before it who wants the same.
func (r *room) join(want Want) (w *waiter, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, err = r.joinLocked(want); err != nil {
		return nil, false, err
	}
	if r.wants == nil {
		r.wants = make(map[Want]int)
	}
	r.wants[want]++
	return w, r.wants[want] == 1, nil
}

func (r *room) queued(want Want) bool {
	if r.len() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wants[want] > 0
}

// leave gives a place up. Where the waiter was woken, and did nothing with it, others
// are.
func (r *room) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaveLocked(w)
	if r.wants[w.want]--; r.wants[w.want] == 0 {
		delete(r.wants, w.want)
	}
	for _, e := range [...]*EndpointLimit{w.where, w.pending()} {
		if e.spare() {
			wakeFor(e, r.list.Front())
		}
	}
	for next := r.list.Front(); next != nil; next = next.Next() {
		if other := next.Value.(*waiter); other.want == w.want {
			other.wake(nil)
			return
		}
	}
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

// missed is called when a waiter found no room where it was woken for some. What is
// none for it may be room for another, who looks among other endpoints.
func (r *room) missed(w *waiter) {
	e := w.where
	w.where = nil
	if !e.spare() {
		return // another call was faster
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wakeFor(e, w.place.Next())
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

// wake has those look who may find room now that there are other endpoints: the first
// of each that want the same. Who finds some wakes the next.
func (r *room) wake() {
	if r.len() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	woken := make(map[Want]bool, len(r.wants))
	for next := r.list.Front(); next != nil && len(woken) < len(r.wants); next = next.Next() {
		if w := next.Value.(*waiter); !woken[w.want] {
			woken[w.want] = true
			w.wake(nil)
		}
	}
}

// wakeFor wakes the first, from one on, that would take a place at an endpoint.
func wakeFor(e *EndpointLimit, next *list.Element) {
	for ; next != nil; next = next.Next() {
		if w := next.Value.(*waiter); (w.want.Endpoint == "" || w.want.Endpoint == e.id) && w.wake(e) {
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
