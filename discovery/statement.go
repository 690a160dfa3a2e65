package discovery

import "context"

// statement is what one of several sources said.
type statement struct {
	source   int
	snapshot Snapshot
	err      error
}

// failed reports whether it says nothing but that something went wrong.
func (s statement) failed() bool { return s.err != nil && !s.snapshot.Unknown }

// teller returns what sends each statement of a source to the reader of said,
// until ctx ends.
func teller(ctx context.Context, said chan<- statement, source int) func(Snapshot, error) bool {
	return func(s Snapshot, err error) bool {
		select {
		case said <- statement{source: source, snapshot: s, err: err}:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
