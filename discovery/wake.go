package discovery

import "sync"

// wakers are the watches that a Refresh can wake, by the service they watch.
// The zero value is empty.
type wakers struct {
	mu    sync.Mutex
	chans map[string]map[chan struct{}]struct{} // guarded by mu
}

// add returns a channel that receives after each wake, and what takes it away.
func (w *wakers) add(service string) (wake <-chan struct{}, remove func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chans == nil {
		w.chans = make(map[string]map[chan struct{}]struct{})
	}
	if w.chans[service] == nil {
		w.chans[service] = make(map[chan struct{}]struct{})
	}
	w.chans[service][c] = struct{}{}
	return c, func() { w.remove(service, c) }
}

func (w *wakers) remove(service string, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.chans[service], c)
	if len(w.chans[service]) == 0 {
		delete(w.chans, service)
	}
}

// wake never blocks: a watch that was woken and has not looked yet is not
// woken twice.
func (w *wakers) wake(service string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.chans[service] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
