package main

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// witness is the transport of a site that remembers what was asked and read.
type witness struct {
	body string

	mu     sync.Mutex
	calls  map[string]int // by address; guarded by mu
	traced int            // with a trace context; guarded by mu
	read   int            // bytes of bodies; guarded by mu
	closed int            // bodies; guarded by mu
}

// watched is a site that the witness answers for.
func watched(body string) (*site, *witness) {
	w := &witness{body: body, calls: make(map[string]int)}
	s := inMemory()
	s.memory = func(addr string) http.RoundTripper { return &witnessed{w, addr} }
	return s, w
}

// witnessed is the transport to one address, or to any.
type witnessed struct {
	*witness
	addr string
}

func (w *witnessed) RoundTrip(req *http.Request) (*http.Response, error) {
	addr := w.addr
	if addr == "" {
		addr = req.URL.Host
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[addr]++
	if req.Header.Get("Traceparent") != "" {
		w.traced++
	}
	resp, err := instant(w.body).RoundTrip(req)
	resp.Body = &watchedBody{strings.NewReader(w.body), w.witness}
	return resp, err
}

type watchedBody struct {
	io.Reader
	*witness
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += n
	return n, err
}

func (b *watchedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

// allClients are those of all tables, by name.
func allClients() map[string]client {
	all := make(map[string]client)
	for _, c := range slices.Concat(httpClients(), loopbackClients()) {
		all[c.name] = c
	}
	return all
}

// balancing are the clients that know more than one endpoint; tracing those that record.
var (
	balancing = []string{bareInTurn.name, recordedInTurn.name, fairleadDefault.name, fairleadRoundRobin.name, fairleadPeakEWMA.name, fairleadRecording.name, httplbClient.name, kitClient.name, kratosClient.name}
	tracing   = []string{recordedBare.name, recordedInTurn.name, fairleadRecording.name}
)

// Each client's call is one request to an endpoint, whose whole answer is read and
// closed; balancers call all endpoints, and those that record send a trace context.
func TestClientsCall(t *testing.T) {
	for name, c := range allClients() {
		t.Run(name, func(t *testing.T) {
			s, w := watched(inMemory().body)
			session := open(t, c, s)
			const calls = 100
			for range calls {
				if err := session.call(); err != nil {
					t.Fatal(err)
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			sum := 0
			for addr, n := range w.calls {
				if sum += n; !slices.Contains(s.addrs, addr) {
					t.Errorf("%q was called", addr)
				}
			}
			if sum != calls || w.read != calls*len(s.body) || w.closed < calls {
				t.Errorf("%d calls are %d requests, %d bytes read and %d bodies closed", calls, sum, w.read, w.closed)
			}
			want := 1
			if slices.Contains(balancing, name) {
				want = len(s.addrs)
			}
			if len(w.calls) != want {
				t.Errorf("called were %v, want %d", slices.Collect(maps.Keys(w.calls)), want)
			}
			traced := 0
			if slices.Contains(tracing, name) {
				traced = calls
			}
			if w.traced != traced {
				t.Errorf("%d calls had a trace context, want %d", w.traced, traced)
			}
		})
	}
}

// No client takes a wrong answer for a right one.
func TestClientsReadTheAnswer(t *testing.T) {
	for name, c := range allClients() {
		t.Run(name, func(t *testing.T) {
			s, _ := watched("something else")
			if err := open(t, c, s).call(); err == nil {
				t.Error("no error")
			}
		})
	}
}

func open(t *testing.T, c client, s *site) session {
	t.Helper()
	session, err := c.open(s)
	if err != nil {
		t.Fatal(err)
	}
	if session.close != nil {
		t.Cleanup(session.close)
	}
	return session
}

func TestHTTP(t *testing.T) { runs(t, httpContest("HTTP in memory", inMemory(), httpClients())) }

func TestLoopback(t *testing.T) {
	fleet := serving(t, httpRole, 3)
	for _, callers := range []int{1, manyCallers} {
		c := loopbackContest(onLoopback(fleet), callers)
		throughNginx := slices.ContainsFunc(c.entries, func(e entry) bool { return strings.Contains(e.name, "nginx") })
		if throughNginx != nginxInstalled() {
			t.Errorf("nginx is installed: %v, among the entries: %v", nginxInstalled(), throughNginx)
		}
		runs(t, c)
	}
}

// serving is servers that end with the test.
func serving(t *testing.T, as string, n int) servers {
	t.Helper()
	fleet, err := startServers(as, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.end)
	return fleet
}

// A server that cannot be is an error, and is not waited for.
func TestNoServer(t *testing.T) {
	if c, err := startChild("no such role", 1); err == nil {
		c.end()
		t.Error("no error")
	}
}

// The configuration names all endpoints.
func TestNginxConfiguration(t *testing.T) {
	n := &nginx{dir: t.TempDir(), addr: "127.0.0.1:1"}
	s := inMemory()
	if err := n.configure(s); err != nil {
		t.Fatal(err)
	}
	text := readFile(t, n.conf())
	for _, want := range append([]string{"listen 127.0.0.1:1;", "pid " + n.dir + "/pid;", "keepalive 100;"}, s.addrs...) {
		if !strings.Contains(text, want) {
			t.Errorf("the configuration lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "%!") {
		t.Errorf("the configuration is ill:\n%s", text)
	}
}
