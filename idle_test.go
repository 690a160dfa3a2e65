package fairlead_test

import (
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// openConns makes a server count the connections that are open now.
func openConns(t *testing.T, open *atomic.Int64, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{handler: handler}
	s.start(t, "127.0.0.1:0", func(h *httptest.Server) {
		h.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		}
	})
	t.Cleanup(s.Close)
	return s
}

func TestIdleConnectionsAreBoundedOverTheMesh(t *testing.T) {
	const bound, endpoints, parallel, each = 50, 20, 64, 40
	var open, most atomic.Int64
	var servers []*server
	for range endpoints {
		servers = append(servers, openConns(t, &open, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Millisecond) // so that calls meet
			hello(w, r)
		}))
	}
	mesh := newMesh(t, servers, fairlead.WithMaxIdleConns(bound), fairlead.WithBalancer(balancer.RoundRobin()))
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for range each {
				resp, err := mesh.Client().Get("http://users/")
				if err != nil {
					t.Error(err)
					return
				}
				readAll(t, resp)
				most.Store(max(most.Load(), open.Load()))
			}
		})
	}
	wg.Wait()
	if most.Load() <= bound {
		t.Fatalf("%d connections at most: the bound of %d was never met", most.Load(), bound)
	}
	eventually(t, "at most 50 connections are open", func() bool { return open.Load() <= bound })
}

func TestLeastRecentlyUsedLosesItsConnections(t *testing.T) {
	var open, oldOpen atomic.Int64
	old, used := openConns(t, &oldOpen, hello), openConns(t, &open, hello)
	third := openConns(t, &open, hello)
	mesh := newMeshOver(t, discovery.Services{
		"old": discovery.Addrs(old.addr), "used": discovery.Addrs(used.addr), "third": discovery.Addrs(third.addr),
	}, fairlead.WithMaxIdleConns(2))
	get := func(service string) {
		resp, err := mesh.Client().Get("http://" + service + "/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	for _, service := range []string{"old", "used", "third"} {
		get(service)
	}
	eventually(t, "the old connection is closed", func() bool {
		get("used")
		return oldOpen.Load() == 0
	})
	get("third")
	if used.conns.Load() != 1 || third.conns.Load() != 1 {
		t.Errorf("connections: %d to the used, %d to the third, want 1 each", used.conns.Load(), third.conns.Load())
	}
}

// Where no sweep has seen any calls, it counts whose service was used last.
func TestServiceUsedLastKeepsItsConnections(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		t.Run(order[0]+" first", func(t *testing.T) {
			var first, last atomic.Int64
			mesh := newMeshOver(t, discovery.Services{
				order[0]: discovery.Addrs(openConns(t, &first, hello).addr),
				order[1]: discovery.Addrs(openConns(t, &last, hello).addr),
			}, fairlead.WithMaxIdleConns(1))
			for _, service := range order {
				resp, err := mesh.Client().Get("http://" + service + "/")
				if err != nil {
					t.Fatal(err)
				}
				readAll(t, resp)
			}
			eventually(t, "one connection is open", func() bool { return first.Load()+last.Load() == 1 })
			if last.Load() != 1 {
				t.Error("the service that was used last has lost its connection")
			}
		})
	}
}

func TestBadMaxIdleConns(t *testing.T) {
	for _, n := range []int{0, -1, math.MinInt} {
		_, err := fairlead.New(discovery.Services{}, fairlead.WithMaxIdleConns(n))
		if err == nil || !strings.Contains(err.Error(), "WithMaxIdleConns is") {
			t.Errorf("WithMaxIdleConns(%d): %v, want an error that names it", n, err)
		}
	}
}

func TestHTTP2IsPingedByDefault(t *testing.T) {
	seen := make(chan http.HTTP2Config, 1)
	mesh := newMesh(t, []*server{newServer(t, hello)}, fairlead.WithTransport(func(tr *http.Transport) { seen <- *tr.HTTP2 }))
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	if h := <-seen; h.SendPingTimeout != 10*time.Second || h.PingTimeout != 5*time.Second {
		t.Errorf("pings after %v, given up after %v, want 10 s and 5 s", h.SendPingTimeout, h.PingTimeout)
	}
}
