package consul_test

import (
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

func register(t *testing.T, agent *consultest.Agent, s api.AgentServiceRegistration) {
	t.Helper()
	if err := agent.Client.Agent().ServiceRegister(&s); err != nil {
		t.Fatal(err)
	}
}

func deregister(t *testing.T, agent *consultest.Agent, id string) {
	t.Helper()
	if err := agent.Client.Agent().ServiceDeregister(id); err != nil {
		t.Fatal(err)
	}
}

// instance is a registration with a TTL check that passes.
func instance(id string, port int) api.AgentServiceRegistration {
	return api.AgentServiceRegistration{
		ID: id, Name: "users", Address: "10.0.0.1", Port: port,
		Check: &api.AgentServiceCheck{CheckID: "check:" + id, TTL: "10m", Status: api.HealthPassing},
	}
}

// TestFollow walks one instance through all that Consul can say of it.
func TestFollow(t *testing.T) {
	onBothBackends(t, testFollow)
}

// onBothBackends runs a test against an agent that serves waiting queries from
// a stream, as is the default, and against one that passes them to a server.
func onBothBackends(t *testing.T, test func(*testing.T, *consultest.Agent)) {
	for name, config := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, consultest.Start(t, consultest.WithConfig(config)))
		})
	}
}

var backends = map[string]string{"streaming": "", "blocking": "use_streaming_backend = false"}

func testFollow(t *testing.T, agent *consultest.Agent) {
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	f := follow(t, resolver, "users")
	if e := f.next("unknown"); !e.Unknown || e.err != nil || len(e.Endpoints) != 0 {
		t.Fatalf("first of a name never heard of: %+v, %v, want Unknown", e.Snapshot, e.err)
	}
	health := func(status string) func() {
		return func() {
			if err := agent.Client.Agent().UpdateTTL("check:u1", "", status); err != nil {
				t.Fatal(err)
			}
		}
	}
	maintenance := func(node, on bool) func() {
		return func() {
			var err error
			switch a := agent.Client.Agent(); {
			case node && on:
				err = a.EnableNodeMaintenance("tests")
			case node:
				err = a.DisableNodeMaintenance()
			case on:
				err = a.EnableServiceMaintenance("u1", "tests")
			default:
				err = a.DisableServiceMaintenance("u1")
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	plain := discovery.Endpoint{ID: "consultest/u1", Addr: "10.0.0.1:80", Weight: 1}
	rich := instance("u1", 80)
	rich.Weights = &api.AgentWeights{Passing: 5, Warning: 0}
	rich.Tags = []string{"blue", "v2"}
	rich.Meta = map[string]string{"version": "2"}
	rich.Locality = &api.Locality{Region: "eu", Zone: "eu-1"}
	full := discovery.Endpoint{
		ID: "consultest/u1", Addr: "10.0.0.1:80", Weight: 5, Region: "eu", Zone: "eu-1",
		Metadata: map[string]string{"version": "2", consul.MetadataTags: "blue,v2"},
	}
	with := func(e discovery.Endpoint, change func(*discovery.Endpoint)) []discovery.Endpoint {
		change(&e)
		return []discovery.Endpoint{e}
	}
	drains := func(e *discovery.Endpoint) { e.Drain = true }
	drainsAtOne := func(e *discovery.Endpoint) { e.Drain, e.Weight = true, 1 }
	steps := []struct {
		name string
		do   func()
		want []discovery.Endpoint
	}{
		{"register", func() { register(t, agent, instance("u1", 80)) }, []discovery.Endpoint{plain}},
		{"critical", health("critical"), nil},
		{"passing", health("passing"), []discovery.Endpoint{plain}},
		{"service maintenance", maintenance(false, true), with(plain, drains)},
		{"end of service maintenance", maintenance(false, false), []discovery.Endpoint{plain}},
		{"node maintenance", maintenance(true, true), with(plain, drains)},
		{"end of node maintenance", maintenance(true, false), []discovery.Endpoint{plain}},
		{"weight, metadata, tags, locality", func() { register(t, agent, rich) }, []discovery.Endpoint{full}},
		{"warning weighs 0", health("warning"), with(full, drainsAtOne)},
		{"passing again", health("passing"), []discovery.Endpoint{full}},
		{"deregister", func() { deregister(t, agent, "u1") }, nil},
	}
	var latencies []time.Duration
	for _, step := range steps {
		began := time.Now()
		step.do()
		e := f.until(step.name, func(e event) bool {
			return e.err == nil && !e.Unknown && cmp.Equal(e.Endpoints, step.want, cmp.Comparer(sameEndpoints))
		})
		latencies = append(latencies, e.at.Sub(began))
		t.Logf("%-32s %v", step.name, latencies[len(latencies)-1])
	}
}

func sameEndpoints(a, b []discovery.Endpoint) bool {
	return slices.EqualFunc(a, b, discovery.Endpoint.Equal)
}

// TestLatency flips one instance's health and times how long the watch takes to see it.
func TestLatency(t *testing.T) {
	agent := consultest.Start(t)
	register(t, agent, instance("u1", 80))
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
	var latencies []time.Duration
	for i := range 8 { // within the burst
		status := []string{"critical", "passing"}[i%2]
		began := time.Now()
		if err := agent.Client.Agent().UpdateTTL("check:u1", "", status); err != nil {
			t.Fatal(err)
		}
		e := f.until(status, func(e event) bool { return len(e.Endpoints) == i%2 })
		latencies = append(latencies, e.at.Sub(began))
	}
	slices.Sort(latencies)
	t.Logf("a health flip is seen after p50 %v, max %v (n = %d)", latencies[len(latencies)/2], latencies[len(latencies)-1], len(latencies))
	if p50 := latencies[len(latencies)/2]; p50 > 500*time.Millisecond {
		t.Errorf("p50 is %v, want milliseconds", p50)
	}
}

// TestAddresses checks what becomes of the addresses that Consul can hold.
func TestAddresses(t *testing.T) {
	agent := consultest.Start(t)
	for _, s := range []api.AgentServiceRegistration{
		{ID: "a", Name: "Users", Address: "fd00::1", Port: 80},
		{ID: "b", Name: "users", Port: 81},
		{ID: "c", Name: "users", Address: "users.internal", Port: 82},
		{ID: "d", Name: "users", Address: "10.0.0.1"},
	} {
		register(t, agent, s)
	}
	resolver := newResolver(t, consul.Config{Address: agent.Addr, Logger: slog.New(slog.DiscardHandler)})
	for _, name := range []string{"users", "USERS.", "users.service.consul", "users.service.dc1.consul"} {
		f := follow(t, resolver, name)
		f.until("the instances of "+name, func(e event) bool {
			return e.has("[fd00::1]:80", "127.0.0.1:81", "users.internal:82")
		})
	}
}

func TestTagsAndFilter(t *testing.T) {
	agent := consultest.Start(t)
	for id, meta := range map[string]string{"a": "1", "b": "2"} {
		s := instance(id, 80)
		s.Address, s.Tags, s.Meta = "10.0.0."+meta, []string{"it's \"v\"" + meta, "all", "a `b`"}, map[string]string{"version": meta}
		register(t, agent, s)
	}
	for _, test := range []struct {
		name   string
		config consul.Config
		want   []string
	}{
		{"one tag", consul.Config{Tags: []string{"all"}}, []string{"10.0.0.1:80", "10.0.0.2:80"}},
		{"both tags", consul.Config{Tags: []string{"all", "it's \"v\"2"}}, []string{"10.0.0.2:80"}},
		{"backquote", consul.Config{Tags: []string{"a `b`"}}, []string{"10.0.0.1:80", "10.0.0.2:80"}},
		{"filter", consul.Config{Filter: `Service.Meta.version == "1" or Service.Meta.version == "3"`}, []string{"10.0.0.1:80"}},
		{"tag and filter", consul.Config{Tags: []string{"it's \"v\"2"}, Filter: `Service.Meta.version == "2" or Service.Meta.version == "1"`}, []string{"10.0.0.2:80"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Address = agent.Addr
			f := follow(t, newResolver(t, test.config), "users")
			f.until("the chosen instances", func(e event) bool { return e.has(test.want...) })
		})
	}
}

// TestLastingErrors checks that what will not heal stays an error, and no set.
func TestLastingErrors(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	register(t, agent, instance("u1", 80))
	for _, test := range []struct {
		name, service string
		config        consul.Config
	}{
		{"unknown datacenter in the name", "users.service.dc2.consul", consul.Config{}},
		{"unknown datacenter", "users", consul.Config{Datacenter: "dc2"}},
		{"bad filter", "users", consul.Config{Filter: "(("}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.config.Address = agent.Addr
			f := follow(t, newResolver(t, test.config), test.service)
			for range 4 {
				if e := f.next("error"); e.err == nil {
					t.Fatalf("got %+v, want an error", e.Snapshot)
				} else if e.Unknown {
					t.Fatalf("got Unknown beside %v, want only the error", e.err)
				}
			}
		})
	}
}

// TestRestart kills the agent, which comes back with nothing and lower indexes.
func TestRestart(t *testing.T) {
	onBothBackends(t, testRestart)
}

func testRestart(t *testing.T, agent *consultest.Agent) {
	for i := range 20 { // so that the new agent's indexes stay below
		register(t, agent, instance("u1", 80+i))
	}
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:99") })
	agent.Kill()
	f.until("an error", isError)
	agent.Restart()
	register(t, agent, instance("u2", 7))
	began := time.Now()
	e := f.until("the newcomer", func(e event) bool { return e.has("10.0.0.1:7") })
	t.Logf("the newcomer is seen %v after its registration", e.at.Sub(began))
	for i := range 3 { // and followed
		register(t, agent, instance("u2", 8+i))
		f.until("the change", func(e event) bool { return e.has([]string{"10.0.0.1:8", "10.0.0.1:9", "10.0.0.1:10"}[i]) })
	}
}

// TestCloseInsideQuery ends watches while their queries wait in the agent.
func TestCloseInsideQuery(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	for _, test := range []struct {
		name string
		end  func(*consul.Resolver, *follower)
	}{
		{"context", func(_ *consul.Resolver, f *follower) { f.cancel() }},
		{"Close", func(r *consul.Resolver, _ *follower) { _ = r.Close(); _ = r.Close() }},
		{"agent paused", func(_ *consul.Resolver, f *follower) { agent.Pause(); f.cancel() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			resolver := newResolver(t, consul.Config{Address: agent.Addr})
			f := follow(t, resolver, "users")
			f.next("first snapshot")
			f.quiet(50 * time.Millisecond) // the query waits by now
			began := time.Now()
			test.end(resolver, f)
			<-f.ended
			if took := time.Since(began); took > time.Second {
				t.Errorf("ended after %v, want within 1 s", took)
			}
		})
	}
	agent.Resume()
}

// counter is a proxy in front of an agent that counts what passes.
func counter(t *testing.T, agent *consultest.Agent) (addr string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	return between(t, agent, func(*http.Request) { requests.Add(1) }), requests
}

// between is a proxy in front of an agent that calls before for each request.
func between(t *testing.T, agent *consultest.Agent, before func(*http.Request)) (addr string) {
	t.Helper()
	transport := &http.Transport{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.Addr})
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0) // the watches' end
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.Listener.Addr().String()
}

// TestAtRest counts the queries of watches that nothing happens to.
func TestAtRest(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	register(t, agent, instance("u1", 80))
	addr, requests := counter(t, agent)
	resolver := newResolver(t, consul.Config{Address: addr, Wait: 2 * time.Second})
	known, unknown := follow(t, resolver, "users"), follow(t, resolver, "nobody")
	known.next("instance")
	unknown.next("unknown")
	known.quiet(6 * time.Second)
	// Each began with one query that does not wait; then one per 1.5 s or more.
	if n := requests.Load(); n > 12 {
		t.Errorf("two watches asked %d times in 6 s with a wait of 1.5 to 2 s, want at most 12", n)
	} else {
		t.Logf("two watches asked %d times in 6 s with a wait of 1.5 to 2 s", n)
	}
}

// TestRefresh checks that Refresh adds one query, at most once a second, and
// leaves the waiting one alone.
func TestRefresh(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	register(t, agent, instance("u1", 80))
	addr, requests := counter(t, agent)
	resolver := newResolver(t, consul.Config{Address: addr})
	f := follow(t, resolver, "users")
	f.next("instance")
	f.quiet(1200 * time.Millisecond)
	for range 1000 {
		resolver.Refresh("users.service.consul")
		resolver.Refresh("nobody")
		resolver.Refresh("users:80")
	}
	f.quiet(500 * time.Millisecond)
	if n := requests.Load(); n != 3 {
		t.Errorf("%d queries, want 3: the first, the waiting one, the refresh", n)
	}
	register(t, agent, instance("u1", 81))
	f.until("the change", func(e event) bool { return e.has("10.0.0.1:81") })
}
