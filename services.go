package fairlead

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
)

// services are the names that a Mesh watches, and those that it knows to be
// unknown. Both are bounded: the names come out of URLs.
type services struct {
	byName sync.Map // string → *service; written under mu
	often  oftenCalled
	looked atomic.Int64 // monotime: when the janitor last did; the end of time while there is no room

	mu      sync.Mutex
	count   int                  // guarded by mu
	unknown map[string]unknownAs // guarded by mu
	janitor *time.Timer          // runs while there are services; guarded by mu
}

// unknownAs is why a name is unknown, and until when that is believed.
type unknownAs struct {
	err   error
	until time.Time
}

// acquireOften is acquire for the name of a service that is called often, and nil for
// others.
func (m *Mesh) acquireOften(name string) *service {
	s := m.services.often.get(name)
	if s == nil {
		return nil
	}
	if !s.acquire() {
		m.services.often.forget(s)
		return nil
	}
	if m.closing.Load() {
		s.release()
		return nil
	}
	return s
}

// acquire returns the service of the name, watched and kept from being let go
// until its release, or the reason why the name has none.
func (m *Mesh) acquire(name string) (*service, error) {
	if s := m.acquireOften(name); s != nil {
		return s, nil
	}
	for {
		if m.closing.Load() {
			return nil, ErrClosed
		}
		s, err := m.service(name)
		if err != nil {
			return nil, err
		}
		if s.acquire() {
			if m.closing.Load() {
				s.release()
				return nil, ErrClosed
			}
			return s, nil
		}
	}
}

// oftenCalled is some of the services, found faster than by their hashes. It may hold one
// that was let go, until somebody finds that out.
type oftenCalled [16]atomic.Pointer[service]

// at is the place of a name that is not empty.
func (o *oftenCalled) at(name string) *atomic.Pointer[service] {
	n := len(name)
	return &o[(n^int(name[n/2])^int(name[n-1])<<2)%len(o)]
}

func (o *oftenCalled) get(name string) *service {
	if name == "" {
		return nil
	}
	if s := o.at(name).Load(); s != nil && s.name == name {
		return s
	}
	return nil
}

// put keeps a service where there is room. One that was never resolved may turn out to
// be unknown, and its name must then be asked for anew.
func (o *oftenCalled) put(s *service) {
	if at := o.at(s.name); at.Load() == nil && s.resolved.Load() {
		at.CompareAndSwap(nil, s)
	}
}

func (o *oftenCalled) forget(s *service) { o.at(s.name).CompareAndSwap(s, nil) }

func (m *Mesh) service(name string) (*service, error) {
	if known, ok := m.services.byName.Load(name); ok {
		s := known.(*service)
		m.services.often.put(s)
		return s, nil
	}
	m.services.mu.Lock()
	defer m.services.mu.Unlock()
	if s, ok := m.services.byName.Load(name); ok {
		return s.(*service), nil
	}
	if m.closing.Load() {
		return nil, ErrClosed
	}
	if u, ok := m.services.unknown[name]; ok {
		if time.Now().Before(u.until) {
			return nil, u.err
		}
		delete(m.services.unknown, name)
	}
	if err := m.makeRoomLocked(); err != nil {
		return nil, err
	}
	s, err := newService(m, name)
	if err != nil {
		return nil, err
	}
	m.services.byName.Store(name, s)
	m.services.count++
	if m.fullLocked() {
		m.services.looked.Store(math.MaxInt64)
	}
	m.spawned.Go(s.watch)
	if m.services.janitor == nil {
		m.services.janitor = time.AfterFunc(m.lookEvery(), m.tidy)
	}
	return s, nil
}

// makeRoomLocked lets a service go where there are too many: first a name that
// was never resolved, then the one not used for longest, never one in use.
func (m *Mesh) makeRoomLocked() error {
	if !m.fullLocked() {
		return nil
	}
	idle := m.all()
	slices.SortFunc(idle, func(a, b *service) int {
		switch {
		case a.staler(b):
			return -1
		case b.staler(a):
			return 1
		}
		return 0
	})
	for _, s := range idle {
		if m.dropLocked(s) {
			return nil
		}
	}
	return fmt.Errorf("fairlead: %d services are in use, want at most %d (WithMaxServices)", m.services.count, m.options.maxServices)
}

// fullLocked reports whether the next service takes another's room: which of them was not
// used for longest is then worth the clock.
func (m *Mesh) fullLocked() bool { return m.services.count >= m.options.maxServices }

func (s *service) staler(other *service) bool {
	if a, b := s.resolved.Load(), other.resolved.Load(); a != b {
		return !a
	}
	return s.used() < other.used()
}

// used is about when the service was last in use, of monotime. While it is, that is
// the end of time.
func (s *service) used() int64 {
	if s.refs.Load() > s.holds.Load() {
		return math.MaxInt64
	}
	return s.lastUsed.Load()
}

// dropLocked lets a service go that nobody holds.
func (m *Mesh) dropLocked(s *service) bool {
	if !s.retire() {
		return false
	}
	m.services.byName.Delete(s.name)
	m.services.often.forget(s)
	m.services.count--
	m.spawned.Go(func() { s.close(ErrClosed) })
	return true
}

// forget remembers that the resolver has never heard of the service's name, and
// ends its watch.
func (m *Mesh) forget(s *service, cause error) {
	err := ErrUnknownService
	if cause != nil {
		err = fmt.Errorf("%w: %w", ErrUnknownService, cause)
	}
	m.services.mu.Lock()
	if m.services.byName.CompareAndDelete(s.name, s) {
		m.services.count--
	}
	m.rememberUnknownLocked(s.name, err)
	m.services.mu.Unlock()
	// The watch's own goroutine is here: nothing may wait for it.
	s.close(err)
}

func (m *Mesh) rememberUnknownLocked(name string, err error) {
	now := time.Now()
	if m.services.unknown == nil {
		m.services.unknown = make(map[string]unknownAs)
	}
	if len(m.services.unknown) >= unknownNames {
		for other, u := range m.services.unknown {
			if now.After(u.until) {
				delete(m.services.unknown, other)
			}
		}
	}
	if len(m.services.unknown) >= unknownNames {
		clear(m.services.unknown)
	}
	m.services.unknown[name] = unknownAs{err: err, until: now.Add(unknownFor)}
}

// doubtUnknown lets the resolver be asked again for an unknown name at once.
func (m *Mesh) doubtUnknown(name string) {
	m.services.mu.Lock()
	defer m.services.mu.Unlock()
	delete(m.services.unknown, name)
}

func (m *Mesh) lookEvery() time.Duration { return max(m.options.idleAfter/10, lookAtMost) }

// tidy lets idle services go and forgets stale unknown names, every now and then
// while there is anything to tidy.
func (m *Mesh) tidy() {
	m.services.mu.Lock()
	defer m.services.mu.Unlock()
	if m.closing.Load() {
		return
	}
	now, at := time.Now(), monotime.Now()
	if !m.fullLocked() {
		m.services.looked.Store(int64(at))
	}
	for _, s := range m.all() {
		if at.Sub(monotime.Time(s.lastUsed.Load())) >= m.options.idleAfter+m.lookEvery() {
			m.dropLocked(s) // unless it is in use
		}
	}
	for name, u := range m.services.unknown {
		if now.After(u.until) {
			delete(m.services.unknown, name)
		}
	}
	if m.services.count+len(m.services.unknown) == 0 {
		m.services.janitor = nil
		return
	}
	m.services.janitor = time.AfterFunc(m.lookEvery(), m.tidy)
}

// all returns the services, ordered by name.
func (m *Mesh) all() []*service {
	var all []*service
	m.services.byName.Range(func(_, s any) bool {
		all = append(all, s.(*service))
		return true
	})
	slices.SortFunc(all, func(a, b *service) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	return all
}
