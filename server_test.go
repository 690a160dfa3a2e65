package fairlead_test

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
)

// server is a real HTTP server that counts what reaches it and can be killed
// and revived at its address.
type server struct {
	*httptest.Server
	addr    string
	calls   atomic.Int64
	conns   atomic.Int64 // opened so far
	handler http.Handler
}

func newServer(t testing.TB, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		handler(w, r)
	})
	s.start(t, "127.0.0.1:0", nil)
	t.Cleanup(func() { s.Close() })
	return s
}

// start listens at addr. adjust, if not nil, sees the server before it starts.
func (s *server) start(t testing.TB, addr string, adjust func(*httptest.Server)) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	s.Server = &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: s.handler,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.conns.Add(1)
			}
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	if adjust != nil {
		adjust(s.Server)
	}
	s.Start()
}

// kill cuts all connections and frees the address, like a process that dies.
func (s *server) kill() {
	s.CloseClientConnections()
	s.Listener.Close()
	s.CloseClientConnections()
	s.Close()
}

// hello answers with the server's view of the request's host.
func hello(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello from "+r.Host) }

func quiet() fairlead.Option { return fairlead.WithLogger(slog.New(slog.DiscardHandler)) }

// newMesh returns a Mesh over one service, "users", with the servers' endpoints.
func newMesh(t testing.TB, servers []*server, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.addr)
	}
	return newMeshOver(t, discovery.Services{"users": discovery.Addrs(addrs...)}, opts...)
}

func newMeshOver(t testing.TB, resolver discovery.Resolver, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	mesh, err := fairlead.New(resolver, append([]fairlead.Option{quiet()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mesh.Close(); err != nil {
			t.Error(err)
		}
	})
	return mesh
}

// body is a request body that knows whether it was closed, and can be read only
// once: it has no type that http.NewRequest knows how to repeat.
type body struct {
	io.Reader
	closed atomic.Int64
}

func newBody(content string) *body { return &body{Reader: bytes.NewBufferString(content)} }

func (b *body) Close() error {
	b.closed.Add(1)
	return nil
}

// readAll reads and closes a response's body.
func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the body: %v", err)
	}
	return string(content)
}

// eventually waits for a condition that other goroutines bring about, on
// real sockets. It polls without a timer of its own: the test's deadline bounds it.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := tickers()
	defer tick.Stop()
	for range 2000 {
		if condition() {
			return
		}
		<-tick.C
	}
	t.Fatalf("after 20 s still not: %s", what)
}

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
