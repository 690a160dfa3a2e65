package fairlead_test

import (
	"context"
	"iter"

	"github.com/fairlead-go/fairlead/discovery"
)

// watchFunc is a Resolver for what no real one does on demand.
type watchFunc func(ctx context.Context, service string, yield func(discovery.Snapshot, error) bool)

func (f watchFunc) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) { f(ctx, service, yield) }
}
