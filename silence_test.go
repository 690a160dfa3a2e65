package fairlead_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/silence"
	"github.com/fairlead-go/fairlead/retry"
)

// silenced is a Mesh over two servers, the first of which is behind a proxy whose
// connections can fall silent.
func silenced(t *testing.T, h2c bool, opts ...fairlead.Option) (*fairlead.Mesh, *silence.Proxy, *server) {
	t.Helper()
	adjust := func(s *httptest.Server) {
		if h2c {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
		}
	}
	servers := [2]*server{}
	for i := range servers {
		servers[i] = newServer(t, hello)
		servers[i].kill()
		servers[i].start(t, servers[i].addr, adjust)
	}
	proxy, err := silence.Listen(servers[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	opts = append([]fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithTransport(func(tr *http.Transport) {
		if h2c {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetUnencryptedHTTP2(true)
		}
	})}, opts...)
	mesh := newMeshOver(t, discovery.Services{"users": discovery.Addrs(proxy.Addr(), servers[1].addr)}, opts...)
	return mesh, proxy, servers[0]
}

func getUsers(t *testing.T, mesh *fairlead.Mesh) {
	t.Helper()
	resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
}

// A connection falls silent without being closed, and new ones work: the endpoint is
// soon back, over another connection, long before a ping would tell.
func TestSilentConnection(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1", true: "HTTP/2"}[h2c], func(t *testing.T) {
			noPings := fairlead.WithTransport(func(tr *http.Transport) { tr.HTTP2.SendPingTimeout = time.Hour })
			mesh, proxy, behind := silenced(t, h2c, noPings, fairlead.WithRetry(retry.Config{AttemptTimeout: 200 * time.Millisecond}))
			eventually(t, "both are called", func() bool { getUsers(t, mesh); return behind.calls.Load() > 3 })
			proxy.Silence()
			// HTTP/1 has a connection per call, and may find out with the first that dies.
			before := behind.calls.Load()
			if h2c {
				eventually(t, "the endpoint is found broken", func() bool { getUsers(t, mesh); return stateOf(mesh, proxy.Addr()) == balancer.Open })
			}
			eventually(t, "the endpoint is back", func() bool {
				getUsers(t, mesh)
				return stateOf(mesh, proxy.Addr()) == balancer.Ready && behind.calls.Load() > before
			})
		})
	}
}

// Without any time limit, a dead HTTP/2 connection is noticed by its pings.
func TestPingsNoticeADeadConnection(t *testing.T) {
	mesh, proxy, behind := silenced(t, true, fairlead.WithTransport(func(tr *http.Transport) {
		if tr.HTTP2.SendPingTimeout != 10*time.Second || tr.HTTP2.PingTimeout != 5*time.Second {
			t.Errorf("by default pings go out after %v and are waited for %v, want 10 s and 5 s", tr.HTTP2.SendPingTimeout, tr.HTTP2.PingTimeout)
		}
		tr.HTTP2.SendPingTimeout, tr.HTTP2.PingTimeout = 200*time.Millisecond, 200*time.Millisecond
	}))
	eventually(t, "both are called", func() bool { getUsers(t, mesh); return behind.calls.Load() > 3 })
	accepted, before := proxy.Accepted(), behind.calls.Load()
	proxy.Silence()
	eventually(t, "the server is called over another connection", func() bool {
		getUsers(t, mesh)
		return behind.calls.Load() > before && proxy.Accepted() > accepted
	})
}
