package fairlead_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// What a resolver had to complain of is on the status page only while it has:
// also where nothing has changed when it is well again.
func TestResolverErrorEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	const users = `{"users": [{"addr": "127.0.0.1:9"}]}`
	write(users)
	file := discovery.File(path)
	file.Interval, file.Logger = 10*time.Millisecond, slog.New(slog.DiscardHandler)
	mesh := newMeshOver(t, file)
	if err := mesh.Ready(t.Context(), "users"); err != nil {
		t.Fatal(err)
	}
	complaint := func() string { return mesh.Status().Services[0].ResolverError }
	write("{")
	eventually(t, "the resolver's error is on the status page", func() bool { return strings.Contains(complaint(), path) })
	write(users)
	eventually(t, "the error has gone", func() bool { return complaint() == "" })
}
