package discovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Services is a Resolver over a fixed table from a service's name to its
// endpoints. Names are in lower case and without a trailing dot, as a Mesh asks
// for them. A name that is not in the table is unknown. The table must not be
// changed while it is in use; see [Registry] for one that can.
type Services map[string][]Endpoint

var _ Resolver = Services(nil)

// Watch yields the service's endpoints once and then waits for ctx to end.
func (s Services) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		endpoints, known := s[service]
		if !yield(Snapshot{Endpoints: endpoints, Unknown: !known}, nil) {
			return
		}
		<-ctx.Done()
	}
}

// Validate returns every mistake in the table: an empty name, a malformed
// endpoint, an identity that stands twice within a service.
func (s Services) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s)) {
		errs = append(errs, validateName(name))
		seen := make(map[string]bool, len(s[name]))
		for _, e := range s[name] {
			if err := e.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("discovery: service %q: %w", name, unprefixed(err)))
			}
			if seen[e.Identity()] {
				errs = append(errs, fmt.Errorf("discovery: service %q: endpoint %q stands twice, want each ID once", name, e.Identity()))
			}
			seen[e.Identity()] = true
		}
	}
	return errors.Join(errs...)
}

// validateName returns what keeps a Mesh from ever asking for the name.
func validateName(name string) error {
	switch {
	case name == "":
		return errors.New("discovery: a service's name is empty, want the host of its URLs")
	case name != strings.ToLower(name) || strings.HasSuffix(name, "."):
		return fmt.Errorf("discovery: the service's name is %q, want lower case without a trailing dot", name)
	}
	return nil
}
