package discovery

import (
	"slices"
	"strings"
)

// told is what a watch yielded last. The zero value has yielded nothing.
type told struct {
	snapshot Snapshot
	some     bool
	final    bool // beside an error
	doubted  bool // an error came after it
}

// doubt makes the next snapshot news, whatever it says: it ends an error.
func (t *told) doubt() { t.doubted = true }

// news reports whether the snapshot, with the error beside it, says other than
// what was yielded last, and remembers it if so.
func (t *told) news(s Snapshot, err error) bool {
	if t.some && !t.doubted && t.final == (err != nil) && sameSnapshot(t.snapshot, s) {
		return false
	}
	*t = told{snapshot: s, some: true, final: err != nil}
	return true
}

// sameSnapshot reports whether both say the same, in whatever order.
func sameSnapshot(a, b Snapshot) bool {
	if a.Unknown != b.Unknown || len(a.Endpoints) != len(b.Endpoints) {
		return false
	}
	return slices.EqualFunc(a.Endpoints, b.Endpoints, Endpoint.Equal) ||
		slices.EqualFunc(sortedByID(a.Endpoints), sortedByID(b.Endpoints), Endpoint.Equal)
}

// sortedByID returns a sorted copy: what was yielded belongs to many.
func sortedByID(endpoints []Endpoint) []Endpoint {
	return slices.SortedStableFunc(slices.Values(endpoints), func(a, b Endpoint) int {
		return strings.Compare(a.Identity(), b.Identity())
	})
}
