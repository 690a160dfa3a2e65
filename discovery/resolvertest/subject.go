package resolvertest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// Subject is a Resolver under test, and the means to drive its source.
// Only Resolver, and one of Set and Fixed, must be set.
type Subject struct {
	// Resolver is what is tested.
	Resolver discovery.Resolver

	// Service is the name that is watched. Empty means "users".
	Service string

	// Set makes endpoints the whole of Service at the source; with none it
	// empties it. It returns when the source would tell them to anybody who
	// asks. The source need not change all of them at once, but it must keep
	// what stays: an endpoint that was there and is among endpoints, in place if
	// its weight is another, is never gone for a moment. Nil means a source that
	// never changes: Fixed tells what it says.
	Set func(endpoints ...discovery.Endpoint) error

	// Fixed is what a source that never changes says of Service.
	Fixed []discovery.Endpoint

	// Endpoints are what Set is called with, with weights of the suite's own
	// too; at least three. Choose those that the source can carry. Nil means
	// endpoints with every field in use and an IPv6 address.
	Endpoints []discovery.Endpoint

	// Unknown is a name that the source has never heard of. Empty means that
	// unknown names are not tested.
	Unknown string

	// Fail makes the source fail, and heals it again. Set is not called while
	// it fails, and Fail(false) also where it does not fail. Nil means that
	// failures are not tested.
	Fail func(failing bool) error

	// Same reports whether an endpoint that came is the one that was set. Write
	// one where the source makes up identities, or carries no weights, zones or
	// metadata. Nil means Endpoint.Equal.
	Same func(came, set discovery.Endpoint) bool

	// Within is the time in which a change at the source must be yielded, and
	// in which the first snapshot must be. Zero means 5 s.
	Within time.Duration

	// Close ends what the Resolver keeps when nobody watches, such as idle
	// connections. It may be called twice. Nil means that it keeps nothing: no
	// goroutine runs when nobody watches.
	Close func() error
}

const (
	defaultWithin = 5 * time.Second

	// soon is how long a watch may take to end, and a call that does not block
	// to return.
	soon = time.Second
)

// filled returns s with the defaults filled in, or what is wrong with it.
func (s Subject) filled() (Subject, error) {
	if s.Service == "" {
		s.Service = "users"
	}
	if s.Within == 0 {
		s.Within = defaultWithin
	}
	if s.Same == nil {
		s.Same = discovery.Endpoint.Equal
	}
	if s.Endpoints == nil {
		s.Endpoints = defaultEndpoints()
	}
	return s, s.validate()
}

func (s Subject) validate() error {
	switch {
	case s.Resolver == nil:
		return errors.New("resolvertest: Subject.Resolver is nil, want the Resolver to test")
	case s.Set == nil && len(s.Fixed) == 0:
		return errors.New("resolvertest: neither Subject.Set nor Subject.Fixed is set, want one of them")
	case s.Set != nil && s.Fixed != nil:
		return errors.New("resolvertest: Subject.Set and Subject.Fixed are set, want one of them")
	case s.Within < 0:
		return fmt.Errorf("resolvertest: Subject.Within is %v, want more than 0, or 0 meaning %v", s.Within, defaultWithin)
	case len(s.Endpoints) < 3:
		return fmt.Errorf("resolvertest: Subject.Endpoints has %d elements, want at least 3", len(s.Endpoints))
	}
	return discovery.Services{"endpoints": s.Endpoints, "fixed": s.Fixed}.Validate()
}

func defaultEndpoints() []discovery.Endpoint {
	return []discovery.Endpoint{
		{ID: "users-1", Addr: "10.0.0.1:8080", Weight: 3, Region: "north", Zone: "a", Metadata: map[string]string{"version": "7"}},
		{ID: "users-2", Addr: "10.0.0.2:8080", Zone: "b"},
		{ID: "users-3", Addr: "[2001:db8::3]:8080", Drain: true, Metadata: map[string]string{}},
	}
}

// at returns the endpoints of these indices.
func (s Subject) at(indices ...int) []discovery.Endpoint {
	endpoints := make([]discovery.Endpoint, len(indices))
	for i, index := range indices {
		endpoints[i] = s.Endpoints[index]
	}
	return endpoints
}

// heavier returns e with another weight.
func heavier(e discovery.Endpoint) discovery.Endpoint {
	e.Weight = e.EffectiveWeight()%discovery.MaxWeight + 1
	return e
}

func (s Subject) set(endpoints []discovery.Endpoint) error {
	if err := s.Set(endpoints...); err != nil {
		return fmt.Errorf("cannot be tested: Subject.Set(%s): %w", describe(discovery.Snapshot{Endpoints: endpoints}), err)
	}
	return nil
}

func (s Subject) fail(failing bool) error {
	if err := s.Fail(failing); err != nil {
		return fmt.Errorf("cannot be tested: Subject.Fail(%v): %w", failing, err)
	}
	return nil
}

// begin gives the source something to say, and returns what.
func (s Subject) begin(indices ...int) ([]discovery.Endpoint, error) {
	if s.Set == nil {
		return s.Fixed, nil
	}
	endpoints := s.at(indices...)
	return endpoints, s.set(endpoints)
}

// says reports whether the snapshot is the known one of exactly these endpoints.
func (s Subject) says(snapshot discovery.Snapshot, endpoints []discovery.Endpoint) bool {
	if snapshot.Unknown || len(snapshot.Endpoints) != len(endpoints) {
		return false
	}
	came := slices.Clone(snapshot.Endpoints)
	for _, due := range endpoints {
		i := slices.IndexFunc(came, func(e discovery.Endpoint) bool { return s.Same(e, due) })
		if i < 0 {
			return false
		}
		came = slices.Delete(came, i, i+1)
	}
	return true
}

// quiet is how long nothing must come for it to be believed that nothing comes.
func (s Subject) quiet() time.Duration { return s.Within / 4 }
