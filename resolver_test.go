package fairlead_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
)

// watchFunc is a Resolver for what no real one does on demand.
type watchFunc func(ctx context.Context, service string, yield func(discovery.Snapshot, error) bool)

func (f watchFunc) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) { f(ctx, service, yield) }
}

type nilWatch struct{}

func (nilWatch) Watch(context.Context, string) iter.Seq2[discovery.Snapshot, error] { return nil }

func TestNilSequenceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := newMeshOver(t, nilWatch{})
		req, _ := http.NewRequest(http.MethodGet, "http://users/", nil)
		if _, err := mesh.RoundTrip(req); !errors.Is(err, fairlead.ErrUnresolved) || !strings.Contains(err.Error(), "want a sequence") {
			t.Errorf("error %v, want ErrUnresolved that says what is wrong", err)
		}
	})
}
