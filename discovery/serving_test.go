package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
)

// journal is what happened when, in a bubble.
type journal struct {
	mu      sync.Mutex
	began   time.Time
	entries []string // guarded by mu
}

func (j *journal) say(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf("%v %s", time.Since(j.began), what))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := slices.Clone(j.entries)
	// The listener takes connections before anybody serves it, so serving and
	// registering may come in any order.
	if i := slices.Index(entries, "0s serve"); i > 0 {
		entries[0], entries[i] = entries[i], entries[0]
	}
	return entries
}

// server is a Server whose calls take a while to end.
type server struct {
	*journal
	inFlight time.Duration
	stubborn bool // Shutdown returns, and Serve does not
	deaf     bool // nor does Serve after Close
	stop     chan error
}

func (s *server) Serve(net.Listener) error {
	s.say("serve")
	err := <-s.stop
	s.say("served")
	return err
}

func (s *server) Shutdown(ctx context.Context) error {
	s.say("shut down")
	select {
	case <-time.After(s.inFlight):
		if !s.stubborn {
			s.end(nil)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *server) Close() error {
	s.say("close")
	if !s.deaf {
		s.end(nil)
	}
	return nil
}

// end makes Serve return, if it has not.
func (s *server) end(err error) {
	select {
	case s.stop <- err:
	default:
	}
}

// registrar is a Registrar that fails at first.
type registrar struct {
	*journal
	failures int // so many attempts fail
	takes    time.Duration
	leave    error
	refusal  error
	attempts int
}

var errAway = errors.New("the registry is away")

func (r *registrar) Register(ctx context.Context, service string, e discovery.Endpoint) (discovery.Registration, error) {
	r.attempts++
	select {
	case <-time.After(r.takes):
	case <-ctx.Done():
		r.say("register cut")
		return nil, ctx.Err()
	}
	if r.refusal != nil {
		return nil, r.refusal
	}
	if r.attempts <= r.failures {
		return nil, errAway
	}
	r.say("register " + service + " at " + e.Addr)
	return r, nil
}

func (r *registrar) Deregister(ctx context.Context) error {
	r.say("deregister")
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.leave
}

type listener struct{ net.Listener }

func (listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80} }

func TestServingOrder(t *testing.T) {
	errBroken := errors.New("accept: broken")
	for _, test := range []struct {
		name    string
		serving discovery.Serving
		server  server
		// endAfter is when the server ends by itself; 0: it does not.
		endAfter  time.Duration
		registrar registrar
		stopAfter time.Duration
		want      []string
		wantErr   []error
		wantText  string
	}{
		{
			name:      "registered, stopped",
			stopAfter: time.Minute,
			server:    server{inFlight: 2 * time.Second},
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m3s shut down", "1m5s served"},
		},
		{
			name:      "an address of its own, no linger",
			serving:   discovery.Serving{Endpoint: discovery.Endpoint{Addr: "users.internal:80"}, Linger: -1},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at users.internal:80", "1m0s deregister", "1m0s shut down", "1m0s served"},
		},
		{
			name:      "calls in flight for too long",
			serving:   discovery.Serving{Linger: time.Second, ShutdownTimeout: 10 * time.Second},
			server:    server{inFlight: time.Hour},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m1s shut down", "1m11s close", "1m11s served"},
			wantText:  "10s",
		},
		{
			name:      "no bound for calls in flight",
			serving:   discovery.Serving{Linger: time.Second, ShutdownTimeout: -1},
			server:    server{inFlight: time.Hour},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m1s shut down", "1h1m1s served"},
		},
		{
			name:      "deregistering fails",
			registrar: registrar{leave: errAway},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m3s shut down", "1m3s served"},
			wantErr:   []error{errAway},
		},
		{
			name:      "the server ends by itself",
			endAfter:  time.Minute,
			stopAfter: time.Hour,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s served", "1m0s deregister", "1m0s shut down"},
			wantErr:   []error{errBroken},
		},
		{
			name:      "the server ends while it lingers",
			endAfter:  time.Minute + time.Second,
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m1s served", "1m1s shut down"},
			wantErr:   []error{errBroken},
		},
		{
			name:      "stopped while it registers, which succeeds",
			registrar: registrar{takes: 500 * time.Millisecond},
			stopAfter: 100 * time.Millisecond,
			want:      []string{"0s serve", "500ms register users at 10.0.0.1:80", "500ms deregister", "3.5s shut down", "3.5s served"},
		},
		{
			name:      "stopped while it registers, which hangs",
			registrar: registrar{takes: time.Hour},
			stopAfter: 100 * time.Millisecond,
			want:      []string{"0s serve", "1.1s register cut", "1.1s shut down", "1.1s served"},
		},
		{
			name:      "the registry refuses the endpoint",
			registrar: registrar{refusal: fmt.Errorf("%w: too heavy", discovery.ErrInvalid)},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s shut down", "0s served"},
			wantErr:   []error{discovery.ErrInvalid},
		},
		{
			name: "stopped before it began",
			want: []string{"0s serve", "0s shut down", "0s served"},
		},
		{
			name:      "a server that goes on after Shutdown",
			serving:   discovery.Serving{Linger: -1, ShutdownTimeout: 10 * time.Second},
			server:    server{stubborn: true},
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m0s shut down", "1m10s close", "1m10s served"},
			wantText:  "10s",
		},
		{
			name:      "a server that goes on after Close",
			serving:   discovery.Serving{Linger: -1, ShutdownTimeout: 10 * time.Second},
			server:    server{stubborn: true, deaf: true},
			endAfter:  2 * time.Minute,
			stopAfter: time.Minute,
			want:      []string{"0s serve", "0s register users at 10.0.0.1:80", "1m0s deregister", "1m0s shut down", "1m10s close"},
			wantText:  "goes on after its Close",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &journal{began: time.Now()}
				test.server.journal, test.server.stop = log, make(chan error, 1)
				test.registrar.journal = log
				s := test.serving
				s.Server, s.Listener, s.Registrar, s.Service = &test.server, listener{}, &test.registrar, "users"
				s.Logger = slog.New(slog.DiscardHandler)
				ctx, cancel := context.WithTimeout(t.Context(), test.stopAfter)
				defer cancel()
				if test.endAfter > 0 {
					time.AfterFunc(test.endAfter, func() { test.server.end(errBroken) })
				}
				err := s.Run(ctx)
				happened := log.all()
				time.Sleep(test.endAfter) // until the server has ended
				if (err != nil) != (test.wantErr != nil || test.wantText != "") || err != nil && !strings.Contains(err.Error(), test.wantText) {
					t.Errorf("Run: %v", err)
				}
				for _, want := range test.wantErr {
					if !errors.Is(err, want) {
						t.Errorf("Run: %v, want %v", err, want)
					}
				}
				if diff := cmp.Diff(test.want, happened); diff != "" {
					t.Errorf("what happened (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A registry that is away at first costs milliseconds, one that is away for
// long one attempt in some seconds, and either one line in the log.
func TestServingRegistersAgain(t *testing.T) {
	for _, test := range []struct {
		failures       int
		within         time.Duration
		atLeast, lines int
	}{
		{failures: 3, within: 350 * time.Millisecond, lines: 2},
		{failures: 1_000_000, within: time.Hour, atLeast: 700, lines: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			log := &journal{began: time.Now()}
			r := &registrar{journal: log, failures: test.failures}
			ctx, cancel := context.WithTimeout(t.Context(), test.within)
			defer cancel()
			err := discovery.Serving{
				Server: &server{journal: log, stop: make(chan error, 1)}, Listener: listener{}, Registrar: r, Service: "users",
				Logger: slog.New(slog.NewTextHandler(&out, nil)),
			}.Run(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out.String(), "\n"); n != test.lines {
				t.Errorf("%d lines in the log, want %d:\n%s", n, test.lines, out.String())
			}
			if r.attempts < test.atLeast || test.atLeast > 0 && r.attempts > 3*test.atLeast {
				t.Errorf("%d attempts in %v, want about %d", r.attempts, test.within, 2*test.atLeast)
			}
		})
	}
}

func TestServingRefuses(t *testing.T) {
	valid := func() discovery.Serving {
		return discovery.Serving{Server: &http.Server{}, Listener: listener{}, Registrar: discovery.NewRegistry(), Service: "users"}
	}
	for name, test := range map[string]struct {
		change func(*discovery.Serving)
		want   []string
	}{
		"no server":        {func(s *discovery.Serving) { s.Server = nil }, []string{"Server"}},
		"no listener":      {func(s *discovery.Serving) { s.Listener = nil }, []string{"Listener"}},
		"no registrar":     {func(s *discovery.Serving) { s.Registrar = nil }, []string{"Registrar"}},
		"no name":          {func(s *discovery.Serving) { s.Service = "" }, []string{"name is empty"}},
		"upper case":       {func(s *discovery.Serving) { s.Service = "Users" }, []string{"Users", "lower case"}},
		"malformed addr":   {func(s *discovery.Serving) { s.Endpoint.Addr = "x" }, []string{"Addr", `"x"`}},
		"negative linger":  {func(s *discovery.Serving) { s.Linger = -2 }, []string{"Linger", "-2ns", "3s", "-1"}},
		"negative timeout": {func(s *discovery.Serving) { s.ShutdownTimeout = -5 }, []string{"ShutdownTimeout", "-5ns", "25s"}},
		"unix listener": {func(s *discovery.Serving) { s.Listener = unixListener{} },
			[]string{"TCP"}},
	} {
		s := valid()
		test.change(&s)
		err := s.Run(t.Context())
		if err == nil {
			t.Fatalf("%s: Run returned nil", name)
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}

type unixListener struct{ net.Listener }

func (unixListener) Addr() net.Addr { return &net.UnixAddr{Name: "/run/x", Net: "unix"} }

// TestServingHTTP stops a real server: who calls while it lingers is answered,
// and so is who called before.
func TestServingHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, answer := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = io.WriteString(w, "slow")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "quick") })

	registry := discovery.NewRegistry()
	next := watch(t, registry, "users")
	next() // unknown
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- discovery.Serving{
			Server: &http.Server{Handler: mux}, Listener: l, Registrar: registry, Service: "users", Linger: time.Second,
		}.Run(ctx)
	}()
	if s := next(); len(s.Endpoints) != 1 || s.Endpoints[0].Addr != l.Addr().String() {
		t.Fatalf("registered as %+v, want the listener's address", s)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	get := func(path string) string {
		resp, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		content, _ := io.ReadAll(resp.Body)
		return string(content)
	}
	slow := make(chan string, 1)
	go func() { slow <- get("/slow") }()
	<-arrived
	stop()
	if s := next(); len(s.Endpoints) != 0 {
		t.Fatalf("after the stop: %+v, want no endpoint", s)
	}
	if got := get("/"); got != "quick" {
		t.Errorf("a call after it left the registry: %s", got)
	}
	close(answer)
	if got := <-slow; got != "slow" {
		t.Errorf("the call in flight: %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := get("/"); got == "quick" {
		t.Error("the server answers after its end")
	}
}
