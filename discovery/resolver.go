package discovery

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
)

// Snapshot is the complete set of a service's endpoints at one moment.
// It is never changed after it was yielded, neither by its source nor by its reader.
type Snapshot struct {
	// Endpoints are all of them, in no particular order. Empty means that the
	// service is known and nobody serves it now.
	Endpoints []Endpoint

	// Unknown says that the source has never heard of the service.
	// Endpoints is empty then.
	Unknown bool
}

// Equal reports whether both say the same, in whatever order.
func (s Snapshot) Equal(other Snapshot) bool {
	if s.Unknown != other.Unknown || len(s.Endpoints) != len(other.Endpoints) {
		return false
	}
	return slices.EqualFunc(s.Endpoints, other.Endpoints, Endpoint.Equal) ||
		slices.EqualFunc(sortedByID(s.Endpoints), sortedByID(other.Endpoints), Endpoint.Equal)
}

// sortedByID returns a sorted copy: what was yielded belongs to many.
func sortedByID(endpoints []Endpoint) []Endpoint {
	return slices.SortedStableFunc(slices.Values(endpoints), func(a, b Endpoint) int {
		return strings.Compare(a.Identity(), b.Identity())
	})
}

// Resolver says who serves a name. Implementations are safe for concurrent use.
type Resolver interface {
	// Watch yields the service's snapshots: the first as soon as it is known,
	// then one for each change, each of them complete, until ctx ends.
	//
	// An error in place of a snapshot means "keep what you have"; the sequence
	// goes on after it. When all is well again, what is known is yielded once
	// more even if it has not changed: nothing else says that the error is over.
	// An error beside a Snapshot with Unknown set is final for this name: it says
	// why the source cannot know it. A sequence that ends before ctx does is
	// watched again by its reader, after a back-off.
	//
	// The sequence runs on the goroutine that ranges over it, blocks between
	// its yields, and returns soon (well within a second) after ctx ended.
	Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error]
}

// Refresher is a Resolver that can be asked to look again at once, because
// calls are failing. Refresh does not block and may be ignored.
type Refresher interface {
	Refresh(service string)
}

// ErrInvalid is in the chain of what Register returns where the service or the
// endpoint itself is at fault: to try again is of no use.
var ErrInvalid = errors.New("discovery: the endpoint cannot be registered")

// Registrar makes endpoints known under a service's name.
// Implementations are safe for concurrent use.
type Registrar interface {
	// Register makes e known as an endpoint of service. The same ID again
	// updates what is known of it. What can never be registered is an error that
	// wraps [ErrInvalid]. ctx bounds the call, not the registration,
	// which stands until it is deregistered.
	Register(ctx context.Context, service string, e Endpoint) (Registration, error)
}

// Registration is one endpoint made known by a [Registrar].
type Registration interface {
	// Deregister takes the endpoint out again. ctx bounds the call. To
	// deregister twice is no error.
	Deregister(ctx context.Context) error
}
