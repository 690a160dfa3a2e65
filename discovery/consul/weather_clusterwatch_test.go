package consul_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

// clusterWatch is one service, whose only instance moves from port to port, and
// watches of it through several agents.
type clusterWatch struct {
	cluster   *consultest.Cluster
	port      int
	followers []*follower
}

func (w *clusterWatch) through(t *testing.T, agents ...*consultest.Agent) {
	for _, agent := range agents {
		w.followers = append(w.followers, follow(t, newResolver(t, swift(agent)), "users"))
	}
}

func (w *clusterWatch) addr() string { return fmt.Sprintf("10.0.0.1:%d", w.port) }

// change moves the instance, as soon as a leader takes it, and awaits that all
// watches see it.
func (w *clusterWatch) change(t *testing.T, within time.Duration) {
	t.Helper()
	w.port++
	writer := w.cluster.Agent
	if !writer.Running() {
		writer = w.cluster.Leader()
	}
	enlist(t, writer, "u1", w.port)
	w.right(t, within)
}

func (w *clusterWatch) right(t *testing.T, within time.Duration) {
	t.Helper()
	began := time.Now()
	for _, f := range w.followers {
		f.right(within-time.Since(began), w.addr())
	}
}

// calm is follower.calm of all at once.
func (w *clusterWatch) calm(t *testing.T, d time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range w.followers {
		wg.Go(func() { f.calm(d) })
	}
	wg.Wait()
}
