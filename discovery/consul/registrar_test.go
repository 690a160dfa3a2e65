package consul_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
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
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// newRegistrar makes one that is closed, without an error, when the test ends.
func newRegistrar(t *testing.T, config consul.Config, checks ...consul.Check) *consul.Registrar {
	t.Helper()
	registrar, err := consul.NewRegistrar(config, checks...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registrar.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return registrar
}

func enroll(t *testing.T, r *consul.Registrar, service string, e discovery.Endpoint) discovery.Registration {
	t.Helper()
	registration, err := r.Register(t.Context(), service, e)
	if err != nil {
		t.Fatal(err)
	}
	return registration
}

func leave(t *testing.T, registration discovery.Registration) {
	t.Helper()
	if err := registration.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// quietly is the Config of a Registrar that will be in trouble.
func quietly(agent *consultest.Agent) consul.Config {
	return consul.Config{Address: agent.Addr, Logger: slog.New(slog.DiscardHandler)}
}

// TestRoundTrip registers endpoints and checks that a Resolver reads the same.
func TestRoundTrip(t *testing.T) {
	agent := consultest.Start(t)
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr})
	for _, test := range []struct {
		name, id string
		e        discovery.Endpoint
		also     func(*discovery.Endpoint) // what the Resolver says besides
	}{
		{name: "plain", id: "users-10.0.0.1:80", e: discovery.Endpoint{Addr: "10.0.0.1:80"}},
		{name: "ID", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"}},
		{name: "weight", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Weight: 65535}},
		{name: "drain", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Weight: 3, Drain: true}},
		{name: "IPv6", id: "users-[fd00::1]:80", e: discovery.Endpoint{Addr: "[fd00::1]:80"}},
		{name: "host name", id: "users-users.internal:80", e: discovery.Endpoint{Addr: "users.internal:80"}},
		{name: "region and zone", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Region: "eu", Zone: "eu-1"}},
		{name: "region", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Region: "eu"}},
		{
			name: "zone", id: "u1", e: discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Zone: "eu-1"},
			also: func(e *discovery.Endpoint) { e.Metadata = map[string]string{"zone": "eu-1"} },
		},
		{name: "metadata", id: "u1", e: discovery.Endpoint{
			ID: "u1", Addr: "10.0.0.1:80",
			Metadata: map[string]string{"version": "2", "ber_-X": "ü \"x\"\n", consul.MetadataTags: "blue,v=2,ü"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			registration := enroll(t, registrar, "Users.service.consul", test.e)
			want := test.e
			want.ID = "consultest/" + test.id
			if test.also != nil {
				test.also(&want)
			}
			f := follow(t, resolver, "users")
			f.until("the endpoint as registered", func(e event) bool {
				return e.err == nil && cmp.Equal(e.Endpoints, []discovery.Endpoint{want}, cmp.Comparer(sameEndpoints))
			})
			leave(t, registration)
			f.until("its absence", func(e event) bool { return e.has() })
		})
	}
}

// TestIDs registers IDs that a path can carry only if they are escaped.
func TestIDs(t *testing.T) {
	agent := consultest.Start(t)
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr}, consul.TTLCheck{TTL: time.Second}, consul.TCPCheck{Addr: agent.Addr})
	ids := []string{
		"a b", "a/b", "a?b", "a?enable=false", "a#b", "a%2Fb", "a%", "a%zz", "ü", "日本", "a:b", `a"b`, `a\b`, "a`b",
		"a&b=c", "a+b", "a;b", ".a", "a.", "...", "a/b/c", "[::1]:80", "'", "*", "{x}", "~", strings.Repeat("x", 512),
	}
	var followers []*follower
	var registrations []discovery.Registration
	for i, id := range ids {
		service := fmt.Sprint("users-", i)
		f := follow(t, resolver, service)
		enroll(t, registrar, service, discovery.Endpoint{ID: id, Addr: "10.0.0.1:80", Drain: true})
		f.until("the endpoint "+id, func(e event) bool {
			return e.has("10.0.0.1:80") && e.Endpoints[0].ID == "consultest/"+id && e.Endpoints[0].Drain
		})
		registrations = append(registrations, enroll(t, registrar, service, discovery.Endpoint{ID: id, Addr: "10.0.0.1:80"}))
		f.until("the end of the drain of "+id, func(e event) bool { return e.has("10.0.0.1:80") && !e.Endpoints[0].Drain })
		followers = append(followers, f)
	}
	followers[0].quiet(1500 * time.Millisecond) // the TTLs are renewed, the checks looked at
	for i, f := range followers {
		leave(t, registrations[i])
		if e := f.next("the absence of " + ids[i]); !e.has() {
			t.Errorf("ID %q: got %+v, %v, want nothing", ids[i], e.Snapshot, e.err)
		}
	}
}

// TestRefusals checks that what Consul could not hold is an error, and that
// the error says what it is.
func TestRefusals(t *testing.T) {
	agent := newFake(t, nobody)
	registrar := newRegistrar(t, consul.Config{Address: agent.addr})
	good := discovery.Endpoint{Addr: "10.0.0.1:80"}
	with := func(change func(*discovery.Endpoint)) discovery.Endpoint {
		e := good
		change(&e)
		return e
	}
	meta := func(pairs ...string) discovery.Endpoint {
		e := good
		e.Metadata = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			e.Metadata[pairs[i]] = pairs[i+1]
		}
		return e
	}
	many := good
	many.Metadata = map[string]string{}
	for i := range 65 {
		many.Metadata[fmt.Sprint(i)] = ""
	}
	for _, test := range []struct {
		name, service string
		e             discovery.Endpoint
		want          []string
	}{
		{"no name", "", good, []string{"name"}},
		{"port", "users:80", good, []string{`"users:80"`, "port"}},
		{"other datacenter", "users.service.dc2.consul", good, []string{`"dc2"`, "datacenter"}},
		{"own datacenter", "users.service.dc1.consul", good, []string{`"dc1"`, "leave the datacenter out"}},
		{"dot", "users.internal", good, []string{`"users.internal"`, "no dot"}},
		{"tag", "v2.users.service.consul", good, []string{"tags"}},
		{"long name", strings.Repeat("x", 64), good, []string{"64", "at most 63"}},
		{"no address", "users", discovery.Endpoint{}, []string{"Addr"}},
		{"no port", "users", discovery.Endpoint{Addr: "10.0.0.1"}, []string{"Addr", `"10.0.0.1"`}},
		{"0.0.0.0", "users", discovery.Endpoint{Addr: "0.0.0.0:80"}, []string{"Addr", `"0.0.0.0:80"`, "unspecified"}},
		{"::", "users", discovery.Endpoint{Addr: "[::]:80"}, []string{"unspecified"}},
		{"mapped 0.0.0.0", "users", discovery.Endpoint{Addr: "[::ffff:0.0.0.0]:80"}, []string{"unspecified"}},
		{":: with a zone", "users", discovery.Endpoint{Addr: "[::%eth0]:80"}, []string{"unspecified"}},
		{"brackets for nothing", "users", discovery.Endpoint{Addr: "[10.0.0.1]:80"}, []string{"Addr", `"[10.0.0.1]:80"`, "JoinHostPort"}},
		{"port with a zero", "users", discovery.Endpoint{Addr: "10.0.0.1:080"}, []string{"Addr", `"10.0.0.1:080"`}},
		{"Weight", "users", with(func(e *discovery.Endpoint) { e.Weight = 65_536 }), []string{"Weight", "65536", "65535"}},
		{"negative Weight", "users", with(func(e *discovery.Endpoint) { e.Weight = -1 }), []string{"Weight", "-1"}},
		{"ID with a line break", "users", with(func(e *discovery.Endpoint) { e.ID = "a\nb" }), []string{"ID", `"a\nb"`, "printable"}},
		{"ID that is no UTF-8", "users", with(func(e *discovery.Endpoint) { e.ID = "a\xff" }), []string{"ID", "printable"}},
		{"ID with dots", "users", with(func(e *discovery.Endpoint) { e.ID = "a/../b" }), []string{"ID", `"a/../b"`}},
		{"ID of dots", "users", with(func(e *discovery.Endpoint) { e.ID = ".." }), []string{"ID", `".."`}},
		{"ID with two slashes", "users", with(func(e *discovery.Endpoint) { e.ID = "a//b" }), []string{"ID", `"a//b"`}},
		{"ID with a slash at its end", "users", with(func(e *discovery.Endpoint) { e.ID = "a/" }), []string{"ID", `"a/"`}},
		{"ID with both quotes", "users", with(func(e *discovery.Endpoint) { e.ID = "`\"" }), []string{"ID", "backquote"}},
		{"long ID", "users", with(func(e *discovery.Endpoint) { e.ID = strings.Repeat("x", 513) }), []string{"ID", "513", "512"}},
		{"65 keys", "users", many, []string{"Metadata", "65", "64"}},
		{"empty key", "users", meta("", "x"), []string{"Metadata", `""`}},
		{"key with a dot", "users", meta("a.b", "x"), []string{"Metadata", `"a.b"`}},
		{"key with a letter that is small in ASCII", "users", meta("\u212a", "x"), []string{"Metadata", "letters"}},
		{"long key", "users", meta(strings.Repeat("k", 129), "x"), []string{"Metadata", "128"}},
		{"Consul's key", "users", meta("consul-x", "x"), []string{"Metadata", `"consul-x"`}},
		{"long value", "users", meta("k", strings.Repeat("v", 513)), []string{"Metadata", `"k"`, "513", "512"}},
		{"value that is no UTF-8", "users", meta("k", "\xff"), []string{"Metadata", `"k"`, "UTF-8"}},
		{"empty tag", "users", meta(consul.MetadataTags, "a,,b"), []string{consul.MetadataTags, `"a,,b"`}},
		{"two zones", "users", with(func(e *discovery.Endpoint) { e.Zone, e.Metadata = "a", map[string]string{"zone": "b"} }), []string{"Zone", `"a"`, `"b"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := registrar.Register(t.Context(), test.service, test.e)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
	if n := agent.requests.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// TestUpdate changes all there is of an endpoint that is followed, and checks
// that nothing but what was asked for is ever seen.
func TestUpdate(t *testing.T) {
	onBothBackends(t, func(t *testing.T, agent *consultest.Agent) {
		registrar := newRegistrar(t, consul.Config{Address: agent.Addr}, consul.TTLCheck{TTL: time.Second}, consul.TCPCheck{Addr: agent.Addr})
		resolver := newResolver(t, consul.Config{Address: agent.Addr})
		f := follow(t, resolver, "users")
		f.next("unknown")
		base, drained := discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"}, false
		for i, change := range []func(*discovery.Endpoint){
			func(*discovery.Endpoint) {},
			func(e *discovery.Endpoint) { e.Weight = 7 },
			func(e *discovery.Endpoint) { e.Drain = true },
			func(e *discovery.Endpoint) { e.Drain, e.Weight = true, 9 },
			func(e *discovery.Endpoint) { e.Metadata = map[string]string{"a": "b"} },
			func(e *discovery.Endpoint) { e.Metadata = map[string]string{consul.MetadataTags: "x,y"} },
			func(e *discovery.Endpoint) { e.Region, e.Zone = "eu", "eu-1" },
			func(e *discovery.Endpoint) { e.Addr = "10.0.0.1:81" },
			func(e *discovery.Endpoint) { e.Addr, e.Weight = "10.0.0.2:81", 4 },
			func(*discovery.Endpoint) {},
		} {
			e := base
			change(&e)
			enroll(t, registrar, "users", e)
			e.ID = "consultest/u1"
			want := []discovery.Endpoint{e}
			got := f.next("the update")
			if drained && !e.Drain && !sameEndpoints(got.Endpoints, want) { // Consul removes checks after all else
				e.Drain = true
				if !sameEndpoints(got.Endpoints, []discovery.Endpoint{e}) {
					t.Fatalf("update %d: got %+v, %v, want %+v, draining or not", i, got.Snapshot, got.err, e)
				}
				got = f.next("the end of its drain")
			}
			if got.err != nil || !sameEndpoints(got.Endpoints, want) {
				t.Fatalf("update %d: got %+v, %v, want %+v at once", i, got.Snapshot, got.err, want)
			}
			drained = want[0].Drain
		}
		f.quiet(1500 * time.Millisecond)
	})
}

// TestHandles checks whose registration a handle ends.
func TestHandles(t *testing.T) {
	agent := consultest.Start(t)
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr})
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.next("unknown")
	first := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	second := enroll(t, registrar, "USERS.", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:81"})
	f.until("the update", func(e event) bool { return e.has("10.0.0.1:81") })
	leave(t, first) // the registration is one
	f.until("the end of it", func(e event) bool { return e.has() })
	leave(t, first)
	leave(t, second)
	third := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:82"})
	f.until("a new registration", func(e event) bool { return e.has("10.0.0.1:82") })
	leave(t, first) // ended long ago
	leave(t, second)
	f.quiet(200 * time.Millisecond)
	leave(t, third)
	f.until("the end of it", func(e event) bool { return e.has() })
}

func TestTwoServicesOfOneProcess(t *testing.T) {
	agent := consultest.Start(t)
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr})
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	e := discovery.Endpoint{Addr: "10.0.0.1:80"}
	for _, service := range []string{"users", "orders"} {
		enroll(t, registrar, service, e)
	}
	for _, service := range []string{"users", "orders"} {
		follow(t, resolver, service).until("the endpoint", func(e event) bool { return e.has("10.0.0.1:80") })
	}
	registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "x", Addr: "10.0.0.1:80"})
	_, err := registrar.Register(t.Context(), "orders", discovery.Endpoint{ID: "x", Addr: "10.0.0.1:80"})
	if err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"users"`) {
		t.Errorf("got %v, want an error that names the ID and the service that has it", err)
	}
	leave(t, registration)
	enroll(t, registrar, "orders", discovery.Endpoint{ID: "x", Addr: "10.0.0.1:80"})
}

// TestMaintenanceOfOperators checks that an update leaves it alone, and that
// Consul takes a drain for maintenance.
func TestMaintenanceOfOperators(t *testing.T) {
	agent := consultest.Start(t)
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr})
	resolver := newResolver(t, consul.Config{Address: agent.Addr})
	f := follow(t, resolver, "users")
	e := discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"}
	drains := func(want bool, weight int) func(event) bool {
		return func(e event) bool {
			return e.has("10.0.0.1:80") && e.Endpoints[0].Drain == want && e.Endpoints[0].EffectiveWeight() == weight
		}
	}
	maintain := func(on bool) {
		t.Helper()
		err := agent.Client.Agent().DisableServiceMaintenance("u1")
		if on {
			err = agent.Client.Agent().EnableServiceMaintenance("u1", "an operator's reason")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	enroll(t, registrar, "users", e)
	f.until("the endpoint", drains(false, 1))
	maintain(true)
	f.until("maintenance", drains(true, 1))
	e.Weight = 2
	enroll(t, registrar, "users", e)
	f.until("the update", drains(true, 2))
	checks, _, err := agent.Client.Health().Checks("users", nil)
	if err != nil || !strings.Contains(fmt.Sprint(notes(checks)), "an operator's reason") {
		t.Errorf("the reasons are %v, %v, want the operator's", notes(checks), err)
	}
	e.Drain = true
	enroll(t, registrar, "users", e)
	maintain(false)
	checks, _, err = agent.Client.Health().Checks("users", nil)
	if err != nil || checks.AggregatedStatus() != api.HealthMaint || len(notes(checks)) != 1 {
		t.Errorf("status %s with reasons %v, %v, want maintenance for the drain alone", checks.AggregatedStatus(), notes(checks), err)
	}
	maintain(true)
	another := newRegistrar(t, consul.Config{Address: agent.Addr}) // a new process
	e.Drain, e.Weight = false, 3
	enroll(t, another, "users", e)
	f.until("the update", drains(true, 3))
	maintain(false)
	f.until("the end of all maintenance", drains(false, 3))
}

// TestMaintenanceMeanwhile lets an operator begin or end maintenance after an
// update has read the agent's checks, and before it registers.
func TestMaintenanceMeanwhile(t *testing.T) {
	agent := consultest.Start(t)
	for _, begin := range []bool{true, false} {
		t.Run(fmt.Sprintf("begin %v", begin), func(t *testing.T) {
			operator := agent.Client.Agent()
			turn := func(on bool) {
				err := operator.DisableServiceMaintenance("u1")
				if on {
					err = operator.EnableServiceMaintenance("u1", "an operator's reason")
				}
				if err != nil {
					t.Error(err)
				}
			}
			var registrations atomic.Int64
			addr := between(t, agent, func(r *http.Request) {
				if r.URL.Path == "/v1/agent/service/register" && registrations.Add(1) == 2 {
					turn(begin)
				}
			})
			registrar := newRegistrar(t, consul.Config{Address: addr})
			registration := enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Drain: true})
			turn(!begin)
			enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80", Weight: 2})
			checks, err := operator.ChecksWithFilter("ServiceID == `u1`")
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"service:u1:ttl-1"}
			if begin {
				want = []string{"_service_maintenance:u1", "service:u1:ttl-1"}
			}
			if got := slices.Sorted(maps.Keys(checks)); !slices.Equal(got, want) {
				t.Errorf("the agent has the checks %v, want %v", got, want)
			}
			leave(t, registration)
		})
	}
}

// notes are those of the checks that say maintenance.
func notes(checks api.HealthChecks) (all []string) {
	for _, c := range checks {
		if strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix) {
			all = append(all, c.Notes)
		}
	}
	return all
}

func TestClose(t *testing.T) {
	agent := consultest.Start(t)
	registrar := newRegistrar(t, consul.Config{Address: agent.Addr})
	const many = 200
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			e := discovery.Endpoint{Addr: fmt.Sprintf("10.0.0.1:%d", 1000+i)}
			if _, err := registrar.Register(t.Context(), "users", e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	services, err := agent.Client.Agent().Services()
	if err != nil || len(services) != many {
		t.Fatalf("%d services, %v, want %d", len(services), err, many)
	}
	began := time.Now()
	for range 2 {
		if err := registrar.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("closed with %d registrations in %v", many, time.Since(began))
	if services, err = agent.Client.Agent().Services(); err != nil || len(services) != 0 {
		t.Errorf("%d services left, %v", len(services), err)
	}
	if _, err := registrar.Register(t.Context(), "users", discovery.Endpoint{Addr: "10.0.0.1:80"}); !errors.Is(err, consul.ErrRegistrarClosed) {
		t.Errorf("got %v, want ErrRegistrarClosed", err)
	}
}

// TestCloseWithoutAgent checks that Close says what it could not take out, and
// that it can be called again.
func TestCloseWithoutAgent(t *testing.T) {
	agent := consultest.Start(t)
	registrar, err := consul.NewRegistrar(quietly(agent))
	if err != nil {
		t.Fatal(err)
	}
	enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	enroll(t, registrar, "orders", discovery.Endpoint{ID: "o1", Addr: "10.0.0.1:80"})
	agent.Pause()
	began := time.Now()
	err = registrar.Close()
	if err == nil || !strings.Contains(err.Error(), `"u1"`) || !strings.Contains(err.Error(), `"o1"`) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an error that names both and their deadline", err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("Close took %v, want about 5 s", took)
	}
	agent.Resume()
	if err := registrar.Close(); err != nil {
		t.Error(err)
	}
	if services, err := agent.Client.Agent().Services(); err != nil || len(services) != 0 {
		t.Errorf("%d services left, %v", len(services), err)
	}
}

// TestConcurrently registers, updates and deregisters a few IDs from many
// goroutines and closes in the middle of it: nothing may be left behind.
func TestConcurrently(t *testing.T) {
	agent := consultest.Start(t)
	registrar, err := consul.NewRegistrar(consul.Config{Address: agent.Addr}, consul.TTLCheck{TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	closed := make(chan struct{})
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				e := discovery.Endpoint{ID: fmt.Sprint("u", i%4), Addr: fmt.Sprintf("10.0.0.1:%d", 1+n), Drain: n%5 == 0}
				registration, err := registrar.Register(context.Background(), "users", e)
				if errors.Is(err, consul.ErrRegistrarClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n%3 == 0 {
					if err := registration.Deregister(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		defer close(closed)
		<-time.After(2 * time.Second)
		if err := registrar.Close(); err != nil {
			t.Error(err)
		}
	})
	<-closed
	wg.Wait()
	if services, err := agent.Client.Agent().Services(); err != nil || len(services) != 0 {
		t.Errorf("left behind: %v, %v", services, err)
	}
}
