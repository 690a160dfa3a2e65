// Package wake wakes watches that wait for something else.
package wake

import "sync"

// Set is the watches that can be woken, by what they watch. The zero value is
// empty. All methods are safe for concurrent use.
type Set[K comparable] struct {
	mu    sync.Mutex
	chans map[K]map[chan struct{}]struct{} // guarded by mu
}

// Add returns a channel that receives after each Wake of k, and what takes it
// away.
func (s *Set[K]) Add(k K) (wake <-chan struct{}, remove func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chans == nil {
		s.chans = make(map[K]map[chan struct{}]struct{})
	}
	if s.chans[k] == nil {
		s.chans[k] = make(map[chan struct{}]struct{})
	}
	s.chans[k][c] = struct{}{}
	return c, func() { s.remove(k, c) }
}

func (s *Set[K]) remove(k K, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.chans[k], c)
	if len(s.chans[k]) == 0 {
		delete(s.chans, k)
	}
}

// Wake never blocks: a watch that was woken and has not looked yet is not woken
// twice.
func (s *Set[K]) Wake(k K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.chans[k] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Len returns how many keys there are watches of.
func (s *Set[K]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.chans)
}
