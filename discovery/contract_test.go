package discovery_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

// within is short, since the suite waits a quarter of it for what must not come.
const within = 2 * time.Second

func TestServicesContract(t *testing.T) {
	resolvertest.Run(t, func(*testing.T) resolvertest.Subject {
		users := discovery.Addrs("a:1", "b:1")
		return resolvertest.Subject{
			Resolver: discovery.Services{"users": users},
			Fixed:    slices.Clone(users),
			Unknown:  "nobody",
		}
	})
}

func TestRegistryContract(t *testing.T) {
	resolvertest.Run(t, func(*testing.T) resolvertest.Subject {
		r := discovery.NewRegistry()
		return resolvertest.Subject{
			Resolver: r,
			Set:      func(endpoints ...discovery.Endpoint) error { return r.Set("users", endpoints...) },
			Unknown:  "nobody",
			Within:   within,
		}
	})
}

// source is a file that can be spoilt.
type source struct {
	path string

	mu      sync.Mutex
	content []byte // guarded by mu
}

func newFile(t *testing.T) (*source, *discovery.FileResolver) {
	t.Helper()
	s := &source{path: filepath.Join(t.TempDir(), "services.json"), content: []byte("{}")}
	if err := s.write(s.content); err != nil {
		t.Fatal(err)
	}
	r := quietFile(s.path)
	r.Interval = 10 * time.Millisecond
	return s, r
}

func (s *source) write(content []byte) error {
	if err := os.WriteFile(s.path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(s.path+".new", s.path)
}

func (s *source) set(endpoints ...discovery.Endpoint) error {
	content, err := json.Marshal(discovery.Services{"users": append([]discovery.Endpoint{}, endpoints...)})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content = content
	return s.write(content)
}

func (s *source) fail(failing bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failing {
		return s.write(s.content[:len(s.content)/2])
	}
	return s.write(s.content)
}

func (s *source) subject(r discovery.Resolver) resolvertest.Subject {
	return resolvertest.Subject{Resolver: r, Set: s.set, Fail: s.fail, Unknown: "nobody", Within: within}
}

func TestFileContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		s, r := newFile(t)
		return s.subject(r)
	})
}

func TestMuxContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		s, r := newFile(t)
		return s.subject(discovery.Mux{"users": r, "*.consul": discovery.Services{}})
	})
}

// What the filter drops comes and goes with each change.
func TestFilterContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		s, r := newFile(t)
		subject := s.subject(discovery.Filter(r, func(e discovery.Endpoint) bool { return e.Zone != "dropped" }))
		subject.Set = func(endpoints ...discovery.Endpoint) error {
			dropped := discovery.Endpoint{Addr: "dropped:1", Zone: "dropped", Weight: 1 + time.Now().Nanosecond()%1000}
			return s.set(append(slices.Clone(endpoints), dropped)...)
		}
		return subject
	})
}

// The endpoints are spread over two sources, of which one can fail. Each stays
// with its source: one that moved would be gone for a moment.
func TestMergeContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		s, r := newFile(t)
		other, otherResolver := newFile(t)
		subject := s.subject(discovery.Merge(r, discovery.Services{}, otherResolver))
		subject.Set = func(endpoints ...discovery.Endpoint) error {
			var here, there []discovery.Endpoint
			for _, e := range endpoints {
				if e.ID == "users-2" {
					there = append(there, e)
				} else {
					here = append(here, e)
				}
			}
			if err := other.set(there...); err != nil {
				return err
			}
			return s.set(here...)
		}
		return subject
	})
}

func TestHoldContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		s, r := newFile(t)
		return s.subject(discovery.Hold(r, 50*time.Millisecond))
	})
}
