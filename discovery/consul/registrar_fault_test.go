package consul_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// nobody is an agent that knows nothing and takes everything.
func nobody(_ int64, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		say(w, "", "{}")
	}
}

// ledger is an agent that keeps what it is told, and does what a real one
// does not where a test says so.
type ledger struct {
	addr string

	mu       sync.Mutex
	services map[string]api.AgentServiceRegistration // guarded by mu
	requests []string                                // what was begun, as "verb id"; guarded by mu
	outputs  []string                                // of the beats; guarded by mu

	// fault serves a request in the ledger's place if it returns true.
	fault atomic.Pointer[func(verb string, w http.ResponseWriter, r *http.Request) bool]
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{services: make(map[string]api.AgentServiceRegistration)}
	server := httptest.NewServer(l)
	l.addr = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return l
}

func (l *ledger) fail(fault func(verb string, w http.ResponseWriter, r *http.Request) bool) {
	l.fault.Store(&fault)
}

func (l *ledger) heal() { l.fault.Store(nil) }

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verb, id := "?", ""
	for prefix, v := range map[string]string{
		"/v1/agent/service/register": "register", "/v1/agent/service/deregister/": "deregister",
		"/v1/agent/check/update/": "beat", "/v1/agent/checks": "checks", "/v1/agent/health/service/id/": "look",
	} {
		if rest, found := strings.CutPrefix(r.URL.Path, prefix); found {
			verb, id = v, strings.TrimSuffix(strings.TrimPrefix(rest, "service:"), ":ttl-1")
		}
	}
	body, _ := io.ReadAll(r.Body)
	var s api.AgentServiceRegistration
	var update struct{ Status, Output string }
	switch verb {
	case "register":
		_ = json.Unmarshal(body, &s)
		id = s.ID
	case "beat":
		_ = json.Unmarshal(body, &update)
	}
	l.note(strings.TrimSpace(verb + " " + id))
	if fault := l.fault.Load(); fault != nil && (*fault)(verb, w, r) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.services[id]
	switch {
	case verb == "register":
		l.services[s.ID] = s
	case verb == "checks":
		_, _ = io.WriteString(w, "{}")
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case verb == "deregister":
		delete(l.services, id)
	case verb == "look":
		_, _ = io.WriteString(w, `{"AggregatedStatus":"passing"}`)
	case verb == "beat":
		l.outputs = append(l.outputs, update.Status+" "+update.Output)
	}
}

func (l *ledger) note(request string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, request)
}

func (l *ledger) said() (requests, outputs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests), slices.Clone(l.outputs)
}

func (l *ledger) service(id string) (api.AgentServiceRegistration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, known := l.services[id]
	return s, known
}

func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.services)
}

func (l *ledger) count(request string) int {
	return l.countOf(func(r string) bool { return r == request })
}

// all counts the requests of one kind about all endpoints.
func (l *ledger) all(verb string) int {
	return l.countOf(func(r string) bool { return strings.HasPrefix(r, verb+" ") })
}

func (l *ledger) countOf(ok func(request string) bool) (n int) {
	requests, _ := l.said()
	for _, r := range requests {
		if ok(r) {
			n++
		}
	}
	return n
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !comes(ok) {
		t.Fatalf("no %s within %v", what, patience)
	}
}

// comes polls until ok holds, or patience is over.
func comes(ok func() bool) bool {
	for began := time.Now(); time.Since(began) < patience; <-time.After(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// silence checks that the agent is asked nothing for a while.
func (l *ledger) silence(t *testing.T, d time.Duration) {
	t.Helper()
	before, _ := l.said()
	<-time.After(d)
	if after, _ := l.said(); len(after) != len(before) {
		t.Errorf("asked %v, want nothing", after[len(before):])
	}
}

// heart beats often.
var heart = consul.TTLCheck{TTL: time.Second}

func (l *ledger) config() consul.Config {
	return consul.Config{Address: l.addr, Logger: slog.New(slog.DiscardHandler)}
}

// TestDefinition checks what the agent is told, to the letter.
func TestDefinition(t *testing.T) {
	agent := newLedger(t)
	checks := []consul.Check{
		consul.TTLCheck{},
		consul.HTTPCheck{Path: "/ok", TLS: true, TLSServerName: "users", Header: map[string][]string{"A": {"b"}}},
		consul.TCPCheck{Addr: "10.0.0.9:1", Interval: time.Minute, Timeout: 3 * time.Second, SuccessBeforePassing: 2, FailuresBeforeCritical: 3},
		consul.GRPCCheck{Service: "acme.Users", TLS: true, TLSSkipVerify: true},
	}
	config := agent.config()
	for after, want := range map[time.Duration]string{0: "10m0s", -1: "", time.Hour: "1h0m0s"} {
		config.DeregisterAfter = after
		registration := enroll(t, newRegistrar(t, config, checks...), "Users.", discovery.Endpoint{
			ID: "u1", Addr: "[fd00::1]:80", Weight: 3, Region: "eu", Zone: "eu-1", Drain: true,
			Metadata: map[string]string{"version": "2", consul.MetadataTags: "a,b"},
		})
		got, _ := agent.service("u1")
		if diff := cmp.Diff(api.AgentServiceRegistration{
			ID: "u1", Name: "users", Address: "fd00::1", Port: 80, Tags: []string{"a", "b"}, Meta: map[string]string{"version": "2"},
			Weights: &api.AgentWeights{Passing: 3, Warning: 1}, Locality: &api.Locality{Region: "eu", Zone: "eu-1"},
			Checks: api.AgentServiceChecks{
				{CheckID: "service:u1:ttl-1", TTL: "10s", Status: "passing", DeregisterCriticalServiceAfter: want},
				{
					CheckID: "service:u1:http-2", HTTP: "https://[fd00::1]:80/ok", Method: "GET", Header: map[string][]string{"A": {"b"}},
					TLSServerName: "users", Interval: "5s", Timeout: "1s", Status: "passing", DeregisterCriticalServiceAfter: want,
				},
				{
					CheckID: "service:u1:tcp-3", TCP: "10.0.0.9:1", Interval: "1m0s", Timeout: "3s", SuccessBeforePassing: 2,
					FailuresBeforeCritical: 3, Status: "passing", DeregisterCriticalServiceAfter: want,
				},
				{
					CheckID: "service:u1:grpc-4", GRPC: "[fd00::1]:80/acme.Users", GRPCUseTLS: true, TLSSkipVerify: true,
					Interval: "5s", Timeout: "1s", Status: "passing", DeregisterCriticalServiceAfter: want,
				},
				{
					CheckID: "_service_maintenance:u1:drain", Name: "Service Maintenance Mode", Notes: "its process asked for no new calls",
					TTL: "87600h", Status: "critical",
				},
			},
		}, got); diff != "" {
			t.Errorf("DeregisterAfter %v: (-want +got)\n%s", after, diff)
		}
		leave(t, registration)
	}
}

// TestRegisterFaults checks that each fault is an error after which nobody
// tries again.
func TestRegisterFaults(t *testing.T) {
	chunk := strings.Repeat("{", 64<<10)
	endless := func(code int) func(string, http.ResponseWriter, *http.Request) bool {
		return func(_ string, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			for written := 0; written < 2*consul.MaxAnswer; written += len(chunk) {
				if _, err := io.WriteString(w, chunk); err != nil {
					break
				}
			}
			return true
		}
	}
	only := func(verb string, fault func(http.ResponseWriter)) func(string, http.ResponseWriter, *http.Request) bool {
		return func(v string, w http.ResponseWriter, _ *http.Request) bool {
			if v == verb {
				fault(w)
			}
			return v == verb
		}
	}
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "no", code) }
	}
	for name, fault := range map[string]func(string, http.ResponseWriter, *http.Request) bool{
		"400":             only("register", status(400)),
		"403":             only("register", status(403)),
		"404":             only("register", status(404)),
		"429":             only("register", status(429)),
		"500":             only("register", status(500)),
		"500 to the look": only("checks", status(500)),
		"no JSON":         only("checks", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }),
		"hang up":         only("register", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }),
		"endless answer":  endless(200),
		"endless error":   endless(500),
		"redirect": only("register", func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v1/agent/service/register")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}),
		"hang": func(_ string, _ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			agent := newLedger(t)
			config := agent.config()
			config.Timeout = time.Second
			registrar := newRegistrar(t, config, heart)
			agent.fail(fault)
			_, err := registrar.Register(t.Context(), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
			if err == nil || !strings.Contains(err.Error(), `"u1"`) || !strings.Contains(err.Error(), `"users"`) || len(err.Error()) > 20_000 {
				t.Fatalf("got %v, want a short error that names the ID and the service", err)
			}
			agent.heal()
			agent.silence(t, 500*time.Millisecond)
			if n := agent.count("register u1"); n > 1 {
				t.Errorf("registered %d times, want at most once", n)
			}
		})
	}
}

// TestRegisterWithoutAgent checks the same where nobody listens, and that
// the end of the caller's context and its cause are in the chain.
func TestRegisterWithoutAgent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	registrar := newRegistrar(t, consul.Config{Address: l.Addr().String()})
	if _, err := registrar.Register(t.Context(), "users", discovery.Endpoint{Addr: "10.0.0.1:80"}); err == nil {
		t.Error("no error")
	}
	cause := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := registrar.Register(ctx, "users", discovery.Endpoint{Addr: "10.0.0.1:80"}); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause in the chain", err)
	}
	agent := newLedger(t)
	agent.fail(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	registrar = newRegistrar(t, agent.config())
	ctx, cancel = context.WithCancelCause(t.Context())
	go func() {
		<-time.After(50 * time.Millisecond)
		cancel(cause)
	}()
	began := time.Now()
	if _, err := registrar.Register(ctx, "users", discovery.Endpoint{Addr: "10.0.0.1:80"}); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause in the chain", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("returned after %v, want at once", took)
	}
}

// TestKeeping lets an agent fail for a while, in each way, and checks that the
// endpoint is renewed again afterwards, and that the log tells of both once.
func TestKeeping(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){
		"403":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"429":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"hang":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hang up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			agent := newLedger(t)
			var log syncBuilder
			config := agent.config()
			config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			registration := enroll(t, newRegistrar(t, config, heart), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
			agent.fail(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				fault(w, r)
				return true
			})
			eventually(t, "third try", func() bool { return agent.count("beat u1") >= 3 })
			agent.forget()
			agent.heal()
			eventually(t, "second registration", func() bool { _, known := agent.service("u1"); return known })
			before := agent.count("beat u1")
			eventually(t, "beat", func() bool { return agent.count("beat u1") >= before+2 })
			leave(t, registration)
			if n, m := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); n != 1 || m != 1 {
				t.Errorf("%d warnings and %d good news, want one each:\n%s", n, m, log.String())
			}
		})
	}
}

// TestKeepingRate checks how often an agent is asked that always says the same.
func TestKeepingRate(t *testing.T) {
	agents := map[string]*ledger{}
	for name, fault := range map[string]func(string, http.ResponseWriter) bool{
		"well":         func(string, http.ResponseWriter) bool { return false },
		"500":          func(_ string, w http.ResponseWriter) bool { w.WriteHeader(500); return true },
		"forgets":      func(_ string, w http.ResponseWriter) bool { w.WriteHeader(404); return true },
		"closes after": func(_ string, w http.ResponseWriter) bool { w.Header().Set("Connection", "close"); return false },
	} {
		agent := newLedger(t)
		for i := range 4 {
			enroll(t, newRegistrar(t, agent.config(), heart), "users", discovery.Endpoint{ID: fmt.Sprint("u", i), Addr: "10.0.0.1:80"})
		}
		agent.fail(func(v string, w http.ResponseWriter, _ *http.Request) bool {
			if name == "forgets" && v != "beat" {
				return false
			}
			return v != "deregister" && fault(v, w)
		})
		agents[name] = agent
	}
	<-time.After(3 * time.Second)
	for name, agent := range agents {
		// Each third of a second one beat; or, after 6 failures in a row, one per second on average.
		for i := range 4 {
			id := fmt.Sprint("u", i)
			beats, registrations := agent.count("beat "+id), agent.count("register "+id)
			t.Logf("%s: %d beats, %d registrations", name, beats, registrations)
			if beats < 2 || beats > 25 || registrations > 1+beats {
				t.Errorf("%s: %d beats and %d registrations of one endpoint in 3 s, want about 10", name, beats, registrations)
			}
		}
	}
}

// TestNothingAfterDeregister ends registrations while they are being registered
// again, which the agent takes long for: nothing may come after the end.
func TestNothingAfterDeregister(t *testing.T) {
	agent := newLedger(t)
	registrar := newRegistrar(t, agent.config(), heart)
	const many = 20
	var registrations [many]discovery.Registration
	id := func(i int) string { return fmt.Sprint("u", i) }
	for i := range many {
		registrations[i] = enroll(t, registrar, "users", discovery.Endpoint{ID: id(i), Addr: "10.0.0.1:80"})
	}
	agent.fail(func(verb string, _ http.ResponseWriter, _ *http.Request) bool {
		if verb == "register" {
			<-time.After(200 * time.Millisecond)
		}
		return false
	})
	agent.forget()
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if !comes(func() bool { return agent.count("register "+id(i)) == 2 }) {
				t.Errorf("no second registration of %s within %v", id(i), patience)
			}
			if err := registrations[i].Deregister(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	agent.silence(t, time.Second)
	for i := range many {
		if _, known := agent.service(id(i)); known {
			t.Errorf("%s is known", id(i))
		}
	}
}

// TestDeregisterFaults checks that a failed Deregister can be called again, and
// that nothing is kept meanwhile.
func TestDeregisterFaults(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){
		"500":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"hang": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			agent := newLedger(t)
			registrar := newRegistrar(t, agent.config(), heart)
			registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
			agent.fail(func(_ string, w http.ResponseWriter, r *http.Request) bool {
				fault(w, r)
				return true
			})
			cause := errors.New("no time left")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, cause)
			defer cancel()
			began := time.Now()
			err := registration.Deregister(ctx)
			if err == nil || !strings.Contains(err.Error(), `"u1"`) || name == "hang" && !errors.Is(err, cause) {
				t.Errorf("got %v, want an error", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("returned after %v, want at once", took)
			}
			agent.heal()
			agent.silence(t, time.Second)
			if name == "500" { // or to register again, which revives it
				again := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:81"})
				eventually(t, "beat", func() bool { return agent.count("beat u1") > 0 })
				leave(t, again)
			}
			leave(t, registration)
			leave(t, registration)
			agent.silence(t, 500*time.Millisecond)
			if n := agent.count("deregister u1"); n != 2 {
				t.Errorf("deregistered %d times, want twice: the failure and the success", n)
			}
		})
	}
}

// TestDeregisterInTheWay gives up to deregister while an update hangs. That
// must have ended the keeping all the same.
func TestDeregisterInTheWay(t *testing.T) {
	agent := newLedger(t)
	config := agent.config()
	config.Timeout = time.Second
	registrar := newRegistrar(t, config, heart)
	registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	agent.fail(func(verb string, _ http.ResponseWriter, r *http.Request) bool {
		if verb == "register" {
			<-r.Context().Done()
		}
		return verb == "register"
	})
	updated := make(chan error)
	go func() {
		_, err := registrar.Register(context.Background(), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:81"})
		updated <- err
	}()
	eventually(t, "update", func() bool { return agent.count("register u1") == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := registration.Deregister(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Deregister: got %v, want its deadline", err)
	}
	if err := <-updated; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Register: got %v, want its timeout", err)
	}
	agent.heal()
	agent.silence(t, time.Second)
	leave(t, registration)
	agent.silence(t, 500*time.Millisecond)
}

// TestFailedUpdate checks that what stood before stands again, although the
// agent obeyed what it did not answer.
func TestFailedUpdate(t *testing.T) {
	agent := newLedger(t)
	registrar := newRegistrar(t, agent.config(), heart)
	registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Weight: 3})
	var once sync.Once
	agent.fail(func(verb string, w http.ResponseWriter, _ *http.Request) (fail bool) {
		if verb == "register" {
			once.Do(func() {
				agent.mu.Lock()
				defer agent.mu.Unlock()
				agent.services["u1"] = api.AgentServiceRegistration{ID: "u1", Port: 7} // obeyed
				w.WriteHeader(500)
				fail = true
			})
		}
		return fail
	})
	if _, err := registrar.Register(t.Context(), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:7"}); err == nil {
		t.Fatal("no error")
	}
	eventually(t, "return of the old", func() bool { s, _ := agent.service("u1"); return s.Port == 80 && s.Weights.Passing == 3 })
	leave(t, registration)
}

// TestReadyHangs checks that a Ready which does not return is not called again,
// that nothing is told meanwhile, and that nobody waits for it at the end.
func TestReadyHangs(t *testing.T) {
	agent := newLedger(t)
	hang, hung := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	registrar := newRegistrar(t, agent.config(), consul.TTLCheck{TTL: time.Second, Ready: func(context.Context) error {
		if calls.Add(1) == 2 {
			close(hung)
			<-hang
		}
		return nil
	}})
	registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	<-hung
	agent.silence(t, 1500*time.Millisecond)
	began := time.Now()
	enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:81"}) // an update needs no Ready
	<-time.After(500 * time.Millisecond)
	if n := calls.Load(); n != 2 {
		t.Errorf("called %d times, want 2", n)
	}
	leave(t, registration)
	if err := registrar.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("update, Deregister and Close took %v, want no wait for Ready", took)
	}
	close(hang)
}

// TestReadyCutShort ends the keeping, by a Deregister that fails, while Ready
// is asked: what Ready says of its context's end is no word about the endpoint.
func TestReadyCutShort(t *testing.T) {
	agent := newLedger(t)
	asked := make(chan struct{})
	var calls atomic.Int64
	registrar := newRegistrar(t, agent.config(), consul.TTLCheck{TTL: 3 * time.Second, Ready: func(ctx context.Context) error {
		if calls.Add(1) == 2 {
			close(asked)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}})
	e := discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"}
	registration := enroll(t, registrar, "users", e)
	<-asked
	agent.fail(func(verb string, w http.ResponseWriter, _ *http.Request) bool {
		if verb == "deregister" {
			w.WriteHeader(500)
		}
		return verb == "deregister"
	})
	if err := registration.Deregister(t.Context()); err == nil {
		t.Fatal("no error")
	}
	agent.heal()
	enroll(t, registrar, "users", e)
	eventually(t, "second beat", func() bool { return agent.count("beat u1") >= 2 })
	if _, outputs := agent.said(); slices.ContainsFunc(outputs, func(o string) bool { return o != "passing ready" }) {
		t.Errorf("told %q, want that it is ready and nothing else", outputs)
	}
}

// TestReady checks what the agent is told of each of Ready's words.
func TestReady(t *testing.T) {
	agent := newLedger(t)
	var log syncBuilder
	config := agent.config()
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	var calls atomic.Int64
	words := []func() error{
		func() error { return nil },
		func() error { return errors.New("first reason") },
		func() error { return errors.New("second reason") },
		func() error { panic("third reason") },
		func() error { return errors.New(strings.Repeat("ü", 100_000)) },
		func() error { return errors.New("\xff") },
		func() error { return nil },
	}
	registrar := newRegistrar(t, config, consul.TTLCheck{TTL: time.Second, Ready: func(context.Context) error {
		return words[min(int(calls.Add(1)), len(words))-1]()
	}})
	enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	s, _ := agent.service("u1")
	if got := s.Checks[0].Status; got != api.HealthCritical {
		t.Errorf("registered as %s, want critical until Ready was asked", got)
	}
	eventually(t, "last word", func() bool { _, outputs := agent.said(); return len(outputs) > len(words) })
	_, outputs := agent.said()
	for i, want := range []string{"passing ready", "critical first reason", "critical second reason", "critical Ready panicked: third reason", "critical üüü", "critical \uFFFD", "passing ready"} {
		if !strings.HasPrefix(outputs[i], want) || len(outputs[i]) > 1100 {
			t.Errorf("word %d: told %.100q, want %q", i+1, outputs[i], want)
		}
	}
	if n, m := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); n != 1 || m != 1 {
		t.Errorf("%d warnings and %d good news, want one each:\n%s", n, m, log.String())
	}
}

// away is a ledger that can go away and come back at its address.
type away struct {
	*ledger
	server *httptest.Server
}

func newAway(t *testing.T) *away {
	a := &away{ledger: newLedger(t)}
	a.server = httptest.NewServer(a.ledger)
	a.addr = a.server.Listener.Addr().String()
	t.Cleanup(func() { a.server.Close() })
	return a
}

func (a *away) back(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	a.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a.ledger}}
	a.server.Start()
}

// enrollMany registers u0, u1 and so on.
func enrollMany(t *testing.T, r *consul.Registrar, n int) (registrations []discovery.Registration) {
	t.Helper()
	for i := range n {
		registrations = append(registrations, enroll(t, r, "users", discovery.Endpoint{ID: fmt.Sprint("u", i), Addr: "10.0.0.1:80"}))
	}
	return registrations
}

// TestDropped makes an agent forget many endpoints in each way, and checks that
// they are registered again, long before a beat is due.
func TestDropped(t *testing.T) {
	const many = 20
	ill := func(verb string, w http.ResponseWriter, _ *http.Request) bool {
		if verb == "look" || verb == "beat" {
			w.WriteHeader(500)
		}
		return verb == "look" || verb == "beat"
	}
	for _, test := range []struct {
		name  string
		drop  func(t *testing.T, agent *away, registrations []discovery.Registration)
		again int
	}{
		{"hangs up", func(_ *testing.T, agent *away, _ []discovery.Registration) {
			agent.forget()
			agent.server.CloseClientConnections()
		}, many},
		{"away for a while", func(t *testing.T, agent *away, _ []discovery.Registration) {
			agent.server.Close()
			agent.forget()
			<-time.After(time.Second)
			agent.back(t)
		}, many},
		{"ill at first", func(t *testing.T, agent *away, _ []discovery.Registration) {
			agent.fail(ill)
			agent.server.CloseClientConnections()
			eventually(t, "third try", func() bool { return agent.all("beat") >= 2 })
			agent.forget()
			agent.heal()
		}, many},
		{"ill, and the one who looks leaves", func(t *testing.T, agent *away, registrations []discovery.Registration) {
			agent.fail(ill)
			agent.server.CloseClientConnections()
			eventually(t, "look", func() bool { return agent.all("look") >= 1 })
			for i, registration := range registrations {
				if agent.count(fmt.Sprint("look u", i)) > 0 {
					leave(t, registration)
				}
			}
			agent.forget()
			agent.heal()
		}, many - 1},
		{"no connection that could tell", func(t *testing.T, agent *away, _ []discovery.Registration) {
			agent.fail(func(_ string, w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Connection", "close")
				return false
			})
			agent.server.CloseClientConnections()
			eventually(t, "look", func() bool { return agent.all("look") >= 1 })
			agent.forget()
		}, many},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := newAway(t)
			registrations := enrollMany(t, newRegistrar(t, agent.config(), consul.TTLCheck{TTL: time.Hour}), many)
			test.drop(t, agent, registrations)
			eventually(t, "return of all", func() bool { return agent.all("register") >= many+test.again })
			if n := agent.all("register"); n != many+test.again {
				t.Errorf("registered %d times, want %d", n, many+test.again)
			}
		})
	}
}

// TestDroppedInAnUpdate lets the agent lose everything in the midst of an update:
// that the agent knows the one endpoint that was registered again says nothing of
// the others. It takes several rounds, since who looks first is chance.
func TestDroppedInAnUpdate(t *testing.T) {
	for i := range 12 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			agent := newAway(t)
			registrar := newRegistrar(t, agent.config(), consul.TTLCheck{TTL: time.Hour})
			enrollMany(t, registrar, 2)
			eventually(t, "first beats", func() bool { return agent.all("register") == 2 })
			var dies sync.Once
			agent.fail(func(verb string, _ http.ResponseWriter, _ *http.Request) bool {
				if verb == "register" {
					dies.Do(func() {
						agent.forget()
						panic(http.ErrAbortHandler)
					})
				}
				return false
			})
			if _, err := registrar.Register(t.Context(), "users", discovery.Endpoint{ID: "u0", Addr: "10.0.0.1:80", Weight: 7}); err == nil {
				t.Fatal("no error")
			}
			began := time.Now()
			eventually(t, "return of both", func() bool {
				_, first := agent.service("u0")
				_, second := agent.service("u1")
				return first && second
			})
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("both are back after %v, want 1 s or so", took)
			}
		})
	}
}

// TestStatusKept checks with which status the checks are registered again after
// each answer to a look.
func TestStatusKept(t *testing.T) {
	says := func(code int, media, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(id, status string) string { return fmt.Sprintf(`{"CheckID":%q,"Status":%q}`, id, status) }
	answer := func(checks ...string) string {
		return `{"AggregatedStatus":"x","Service":{"ID":"u1"},"Checks":[` + strings.Join(checks, ",") + `]}`
	}
	const http1, tcp2, json = "service:u1:http-1", "service:u1:tcp-2", "application/json"
	sick := says(503, json, answer(status(http1, "critical"), status(tcp2, "passing")))
	for _, test := range []struct {
		name    string
		answers []func(http.ResponseWriter) // one after the other
		http    string
	}{
		{"passing", []func(http.ResponseWriter){says(200, json, answer(status(http1, "passing"), status(tcp2, "passing")))}, "passing"},
		{"critical", []func(http.ResponseWriter){sick}, "critical"},
		{"warning", []func(http.ResponseWriter){says(429, json+"; charset=utf-8", answer(status(http1, "warning")))}, "warning"},
		{"well again", []func(http.ResponseWriter){sick, says(200, json, answer(status(http1, "passing")))}, "passing"},
		{"maintenance", []func(http.ResponseWriter){says(503, json, answer(status("_service_maintenance:u1", "critical"), status(http1, "passing")))}, "passing"},
		{"others' checks", []func(http.ResponseWriter){says(503, json, answer(status("service:u2:http-1", "critical")))}, "passing"},
		{"of another kind", []func(http.ResponseWriter){says(503, json, answer(status(http1, "maintenance")))}, "passing"},
		{"none", []func(http.ResponseWriter){sick, says(200, json, `{"AggregatedStatus":"x","Checks":null}`)}, "critical"},
		{"large", []func(http.ResponseWriter){says(503, json, answer(`{"Output":"`+strings.Repeat("x", 100_000)+`"}`, status(http1, "critical")))}, "critical"},
		{"of a proxy", []func(http.ResponseWriter){sick, says(503, json, `{"message":"no upstream"}`)}, "critical"},
		{"refused for its rate", []func(http.ResponseWriter){sick, says(429, "text/plain", "slow down")}, "critical"},
		{"no leader", []func(http.ResponseWriter){sick, says(503, "text/plain", "no leader")}, "critical"},
		{"no JSON", []func(http.ResponseWriter){sick, says(503, json, "{")}, "critical"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := newLedger(t)
			registrar := newRegistrar(t, agent.config(), consul.HTTPCheck{}, consul.TCPCheck{}, consul.TTLCheck{TTL: time.Second})
			var looks atomic.Int64
			agent.fail(func(verb string, w http.ResponseWriter, _ *http.Request) bool {
				if verb != "look" {
					return false
				}
				n := int(looks.Add(1))
				test.answers[min(n, len(test.answers))-1](w)
				return true
			})
			enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
			eventually(t, "look", func() bool { return int(looks.Load()) > len(test.answers) })
			agent.forget()
			agent.heal()
			eventually(t, "return", func() bool { _, known := agent.service("u1"); return known })
			s, _ := agent.service("u1")
			var got []string
			for _, check := range s.Checks {
				got = append(got, check.Status)
			}
			if want := []string{test.http, "passing", "passing"}; !slices.Equal(got, want) {
				t.Errorf("registered again as %v, want %v", got, want)
			}
		})
	}
}

// TestFalseAlarms ends connections in ways that are no reason for all keepers to
// look: they are left in peace, whatever their TTL, and Ready with them.
func TestFalseAlarms(t *testing.T) {
	const many = 20
	for _, test := range []struct {
		name     string
		serve    func(s *httptest.Server, h http.Handler, over *atomic.Bool)
		d        time.Duration
		min, max int // looks
	}{
		{"our own idle timeout", func(*httptest.Server, http.Handler, *atomic.Bool) {}, 13 * time.Second, 1, 2},
		{"announced by the agent", func(s *httptest.Server, h http.Handler, _ *atomic.Bool) {
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close")
				h.ServeHTTP(w, r)
			})
		}, 13 * time.Second, 1, 3},
		{"not announced", func(s *httptest.Server, _ http.Handler, over *atomic.Bool) {
			s.Config.ConnState = func(c net.Conn, state http.ConnState) {
				if state == http.StateIdle {
					time.AfterFunc(time.Second, func() {
						if !over.Load() {
							_ = c.Close()
						}
					})
				}
			}
		}, 6 * time.Second, 2, 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := newLedger(t)
			server := httptest.NewUnstartedServer(agent)
			var over atomic.Bool
			test.serve(server, agent, &over)
			server.Start()
			t.Cleanup(server.Close)
			config := agent.config()
			config.Address = server.Listener.Addr().String()
			var asked atomic.Int64
			enrollMany(t, newRegistrar(t, config, consul.TTLCheck{TTL: time.Hour, Ready: func(context.Context) error {
				asked.Add(1)
				return nil
			}}), many)
			<-time.After(test.d)
			over.Store(true)
			if n, m := asked.Load(), agent.all("beat"); n != many || m != many {
				t.Errorf("Ready asked %d times and %d beats of %d endpoints with a TTL of 1 h, want one each", n, m, many)
			}
			looks := agent.all("look")
			if t.Logf("%d looks in %v", looks, test.d); looks < test.min || looks > test.max {
				t.Errorf("%d looks in %v, want %d to %d in all", looks, test.d, test.min, test.max)
			}
		})
	}
}

// TestCloseCutsRegister closes while an agent that hangs is told of an endpoint.
func TestCloseCutsRegister(t *testing.T) {
	agent := newLedger(t)
	agent.fail(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	config := agent.config()
	config.Timeout = 2 * time.Second
	registrar, err := consul.NewRegistrar(config)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := registrar.Register(context.Background(), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
		failed <- err
	}()
	eventually(t, "request", func() bool { return agent.count("checks") > 0 })
	_ = registrar.Close()
	if err := <-failed; err == nil {
		t.Error("no error from Register")
	}
	agent.heal()
	agent.silence(t, 300*time.Millisecond)
	if err := registrar.Close(); err != nil {
		t.Error(err)
	}
}

func TestBadDeregisterAfter(t *testing.T) {
	for _, d := range []time.Duration{-2, time.Nanosecond, 59 * time.Second, 1000 * time.Hour} {
		_, err := consul.NewRegistrar(consul.Config{DeregisterAfter: d})
		if err == nil || !strings.Contains(err.Error(), "DeregisterAfter") || !strings.Contains(err.Error(), d.String()) || !strings.Contains(err.Error(), "-1") {
			t.Errorf("%v: got %v, want an error that names the field and what is allowed", d, err)
		}
	}
}
