package discovery

import (
	"context"
	"errors"
	"iter"
)

// Filtered is a Resolver that leaves out some of another's endpoints. Make one
// with [Filter]. All methods are safe for concurrent use.
type Filtered struct {
	resolver Resolver
	keep     func(Endpoint) bool
}

var (
	_ Resolver  = (*Filtered)(nil)
	_ Refresher = (*Filtered)(nil)
)

var errNoKeep = errors.New("discovery: Filter's keep is nil, want a function")

// Filter returns a Resolver that yields of r's endpoints those that keep is true
// for. A service of which none is kept is empty, not unknown.
//
// keep is called for each endpoint of each snapshot, on the goroutine that
// ranges over the sequence, with no lock held, by several goroutines at once
// where there are several watches. It must not change the endpoint's Metadata,
// and say the same of equal endpoints: r is not asked again when it changes its
// mind.
func Filter(r Resolver, keep func(Endpoint) bool) *Filtered {
	return &Filtered{resolver: r, keep: keep}
}

// Watch yields what is kept of each snapshot, unless it is what it was before.
// Errors are passed on.
func (f *Filtered) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		if f.keep == nil {
			refuse(ctx, Snapshot{}, errNoKeep, yield)
			return
		}
		var last told
		for s, err := range sequence(ctx, f.resolver, service) {
			failed := err != nil && !s.Unknown
			if failed {
				last.doubt()
			} else {
				s = f.filter(s)
			}
			if (failed || last.news(s, err)) && !yield(s, err) {
				return
			}
		}
	}
}

// filter returns a snapshot of its own: the one given has other readers.
func (f *Filtered) filter(s Snapshot) Snapshot {
	var kept []Endpoint
	for _, e := range s.Endpoints {
		if f.keep(e) {
			kept = append(kept, e)
		}
	}
	return Snapshot{Endpoints: kept, Unknown: s.Unknown}
}

// Refresh is passed on.
func (f *Filtered) Refresh(service string) { refreshInner(f.resolver, service) }

// Validate returns an error if the resolver or keep is nil, or what the
// resolver's own Validate says.
func (f *Filtered) Validate() error {
	var err error
	if f.keep == nil {
		err = errNoKeep
	}
	return errors.Join(err, validateInner("Filter's resolver", f.resolver))
}
