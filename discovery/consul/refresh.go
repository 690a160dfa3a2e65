package consul

import "sync"

// wakers are the watches that [Resolver.Refresh] can wake, by what they watch.
// The zero value is empty.
type wakers struct {
	mu    sync.Mutex
	chans map[target]map[chan struct{}]struct{} // guarded by mu
}

// add returns a channel that receives after each wake, and what takes it away.
func (w *wakers) add(t target) (wake <-chan struct{}, remove func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chans == nil {
		w.chans = make(map[target]map[chan struct{}]struct{})
	}
	if w.chans[t] == nil {
		w.chans[t] = make(map[chan struct{}]struct{})
	}
	w.chans[t][c] = struct{}{}
	return c, func() { w.remove(t, c) }
}

func (w *wakers) remove(t target, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.chans[t], c)
	if len(w.chans[t]) == 0 {
		delete(w.chans, t)
	}
}

// wake never blocks: a watch that was woken and has not looked yet is not
// woken twice.
func (w *wakers) wake(t target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.chans[t] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
