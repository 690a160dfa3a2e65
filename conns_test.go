package fairlead_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// callers call until stopped, and return how many of their calls failed.
func callers(t *testing.T, mesh *fairlead.Mesh, n int, until func(calls int64) bool) (failed int64) {
	t.Helper()
	var calls, errs atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for !until(calls.Load()) {
				calls.Add(1)
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				if err != nil {
					errs.Add(1)
					continue
				}
				readAll(t, resp)
			}
		})
	}
	wg.Wait()
	return errs.Load()
}

// With 64 in parallel, connections are kept, not made anew; and one endpoint that
// dies takes nobody's connections but its own.
func TestOneEndpointsFailureLeavesTheOthersConnections(t *testing.T) {
	const parallel = 64
	var servers []*server
	for range 4 {
		servers = append(servers, newServer(t, hello))
	}
	mesh := newMesh(t, servers, fairlead.WithBalancer(balancer.RoundRobin()))
	made := func(of []*server) (n int64) {
		for _, s := range of {
			n += s.conns.Load()
		}
		return n
	}
	some := func(calls int64) bool { return calls > 4000 }
	if failed := callers(t, mesh, parallel, some); failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
	before := made(servers)
	if failed := callers(t, mesh, parallel, some); failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
	if n := made(servers) - before; n > 2*parallel {
		t.Errorf("%d connections were made for 4000 calls by %d callers that had %d", n, parallel, before)
	}
	others := servers[1:]
	before = made(others)
	servers[0].kill()
	if failed := callers(t, mesh, parallel, some); failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
	// A share of the callers more, at each of three, and the retries of those cut off.
	if n := made(others) - before; n > 3*parallel {
		t.Errorf("%d connections were made to the others, which had %d", n, before)
	}
}

// drained is a server that knows its open connections.
type drained struct {
	*server
	mu   sync.Mutex
	open map[net.Conn]bool
}

func newDrained(t *testing.T, h2c bool, handler http.HandlerFunc) *drained {
	t.Helper()
	d := &drained{server: newServer(t, handler), open: map[net.Conn]bool{}}
	d.kill()
	d.start(t, d.addr, func(s *httptest.Server) {
		s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
			d.mu.Lock()
			defer d.mu.Unlock()
			switch state {
			case http.StateNew:
				d.open[conn] = true
			case http.StateClosed, http.StateHijacked:
				delete(d.open, conn)
			}
		}
		if h2c {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
		}
	})
	return d
}

func (d *drained) connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// An endpoint that leaves finishes what is in flight there, and then has no
// connection any more; one that comes back under its ID is called again.
func TestLeavingEndpointDrains(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2c=%v", h2c), func(t *testing.T) {
			goOn := make(chan struct{})
			var once sync.Once
			defer once.Do(func() { close(goOn) })
			leaving := newDrained(t, h2c, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/long" {
					return
				}
				_, _ = io.WriteString(w, "begin ")
				w.(http.Flusher).Flush()
				<-goOn
				_, _ = io.WriteString(w, "end")
			})
			registry := discovery.NewRegistry()
			endpoint := discovery.Endpoint{ID: "leaving", Addr: leaving.addr}
			known, err := registry.Register(t.Context(), "users", endpoint)
			if err != nil {
				t.Fatal(err)
			}
			mesh := newMeshOver(t, registry, fairlead.WithEmptyHold(0), fairlead.WithTransport(func(tr *http.Transport) {
				if h2c {
					tr.Protocols = new(http.Protocols)
					tr.Protocols.SetUnencryptedHTTP2(true)
				}
			}))
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/long", nil))
			if err != nil {
				t.Fatal(err)
			}
			getUsers(t, mesh) // another connection, idle
			if err := known.Deregister(context.Background()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the endpoint has left", func() bool { return stateOf(mesh, leaving.addr) == "" })
			once.Do(func() { close(goOn) })
			if body := readAll(t, resp); body != "begin end" {
				t.Errorf("the body is %q", body)
			}
			eventually(t, "no connection is open", func() bool { return leaving.connections() == 0 })
			if _, err := registry.Register(t.Context(), "users", endpoint); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the endpoint is back", func() bool { return stateOf(mesh, leaving.addr) == balancer.Ready })
			getUsers(t, mesh)
		})
	}
}
