package resolvertest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-go/fairlead/discovery"
)

// between returns what is wrong with a snapshot that came after the set was and
// before the set is. The source need not change all of it at once, so any step
// on the way is in order: what stays is in it, with its old values or its new
// ones, and what joins or leaves may be. Nothing else is, nothing stands twice,
// and the service is known. So where anything stays no step is empty, and in
// every rule something does.
func (s Subject) between(snapshot discovery.Snapshot, was, is []discovery.Endpoint) error {
	if snapshot.Unknown {
		return errors.New("though the service is known")
	}
	rest := slices.Clone(snapshot.Endpoints)
	var moves []discovery.Endpoint
	for _, e := range was {
		i := slices.IndexFunc(is, identified(e))
		if i < 0 {
			moves = append(moves, e)
		} else if !s.take(&rest, e, is[i]) {
			return fmt.Errorf("without %s, which stays", describeEndpoint(e))
		}
	}
	for _, e := range is {
		if !slices.ContainsFunc(was, identified(e)) {
			moves = append(moves, e)
		}
	}
	for _, e := range moves {
		s.take(&rest, e)
	}
	if len(rest) > 0 {
		return fmt.Errorf("with %s, which is one too many", describeEndpoint(rest[0]))
	}
	return nil
}

// take removes from what came the endpoint that was set with one of these
// values, and reports whether there is one.
func (s Subject) take(came *[]discovery.Endpoint, values ...discovery.Endpoint) bool {
	i := slices.IndexFunc(*came, func(e discovery.Endpoint) bool {
		return slices.ContainsFunc(values, func(set discovery.Endpoint) bool { return s.Same(e, set) })
	})
	if i >= 0 {
		*came = slices.Delete(*came, i, i+1)
	}
	return i >= 0
}

// identified reports whether an endpoint that was set is another state of e.
func identified(e discovery.Endpoint) func(discovery.Endpoint) bool {
	return func(other discovery.Endpoint) bool { return other.Identity() == e.Identity() }
}
