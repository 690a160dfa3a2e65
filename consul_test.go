package fairlead_test

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

func consulMesh(t *testing.T, agent *consultest.Agent, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	resolver, err := consul.New(consul.Config{Address: agent.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resolver.Close() })
	return newMeshOver(t, resolver, opts...)
}

// registration is an instance at addr, with a check that is told its status.
func registration(t *testing.T, id, addr string) *api.AgentServiceRegistration {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	return &api.AgentServiceRegistration{
		ID: id, Name: "users", Address: host, Port: n,
		Check: &api.AgentServiceCheck{CheckID: "check:" + id, TTL: "10m", Status: api.HealthPassing},
	}
}

// TestConsulChangesReachThePicker makes each kind of change with a real agent
// and measures the time to the first call that follows it.
func TestConsulChangesReachThePicker(t *testing.T) {
	agent := consultest.Start(t)
	const rounds = 5
	took := map[string][]time.Duration{}
	var steps []consulStep
	for range rounds {
		steps = followConsul(t, agent, took)
	}
	var all []time.Duration
	for _, s := range steps {
		slices.Sort(took[s.what])
		all = append(all, took[s.what]...)
		t.Logf("%-20s p50 %v, max %v", s.what, took[s.what][rounds/2].Round(100*time.Microsecond), took[s.what][rounds-1].Round(100*time.Microsecond))
	}
	slices.Sort(all)
	t.Logf("%-20s p50 %v", "all", all[len(all)/2].Round(100*time.Microsecond))
}

type consulStep struct {
	what   string
	change func() error
	seen   func(e fairlead.EndpointStatus, member bool) bool
}

// followConsul goes through all kinds of changes with a Mesh of its own.
func followConsul(t *testing.T, agent *consultest.Agent, took map[string][]time.Duration) []consulStep {
	steady, moving := newServer(t, hello), newServer(t, hello)
	consulAgent := agent.Client.Agent()
	if err := consulAgent.ServiceRegister(registration(t, "steady", steady.addr)); err != nil {
		t.Fatal(err)
	}
	mesh := consulMesh(t, agent, fairlead.WithBalancer(balancer.WeightedRoundRobin()))
	call := func() {
		t.Helper()
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	call()
	steps := consulSteps(t, consulAgent, moving.addr)
	for _, s := range steps {
		if err := s.change(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for call(); !s.seen(endpoint(mesh, moving.addr)); call() {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%s did not reach the picker in 10 s", s.what)
			}
		}
		took[s.what] = append(took[s.what], time.Since(began))
		// The status knows of a change a moment before the pickers do.
		eventually(t, "calls follow "+s.what, func() bool {
			before := moving.calls.Load()
			for range 20 {
				call()
			}
			e, member := endpoint(mesh, moving.addr)
			return (member && e.State == balancer.Ready) == (moving.calls.Load() > before)
		})
	}
	if n := steady.conns.Load(); n != 1 {
		t.Errorf("%d connections to the endpoint that nothing happened to, want 1", n)
	}
	// It left the membership twice (critical, deregistered); weight, warning,
	// metadata and maintenance must cost no connection.
	if n := moving.conns.Load(); n != 2 {
		t.Errorf("%d connections to the endpoint that joined twice, want 2", n)
	}
	mesh.Close()
	return steps
}

func consulSteps(t *testing.T, agent *api.Agent, addr string) []consulStep {
	ready := func(e fairlead.EndpointStatus, member bool) bool {
		return member && e.State == balancer.Ready && e.Weight == 1
	}
	gone := func(_ fairlead.EndpointStatus, member bool) bool { return !member }
	weighs := func(w int) func(fairlead.EndpointStatus, bool) bool {
		return func(e fairlead.EndpointStatus, member bool) bool { return member && e.Weight == w }
	}
	health := func(status string) func() error {
		return func() error { return agent.UpdateTTL("check:moving", "", status) }
	}
	register := func(weights *api.AgentWeights, meta map[string]string) func() error {
		return func() error {
			r := registration(t, "moving", addr)
			r.Weights, r.Meta = weights, meta
			return agent.ServiceRegister(r)
		}
	}
	return []consulStep{
		{"registering", register(nil, nil), ready},
		{"critical", health(api.HealthCritical), gone},
		{"passing", health(api.HealthPassing), ready},
		{"weight", register(&api.AgentWeights{Passing: 5, Warning: 2}, nil), weighs(5)},
		{"warning", health(api.HealthWarning), weighs(2)},
		{"metadata", register(nil, map[string]string{"zone": "b"}), func(e fairlead.EndpointStatus, member bool) bool { return ready(e, member) && e.Zone == "b" }},
		{"maintenance", func() error { return agent.EnableServiceMaintenance("moving", "test") },
			func(e fairlead.EndpointStatus, member bool) bool { return member && e.State == balancer.Draining }},
		{"end of maintenance", func() error { return agent.DisableServiceMaintenance("moving") }, ready},
		{"deregistering", func() error { return agent.ServiceDeregister("moving") }, gone},
	}
}

func endpoint(mesh *fairlead.Mesh, addr string) (fairlead.EndpointStatus, bool) {
	for _, s := range mesh.Status().Services {
		for _, e := range s.Endpoints {
			if e.Addr == addr {
				return e, true
			}
		}
	}
	return fairlead.EndpointStatus{}, false
}

// TestKilledEndpointsGoUnnoticed kills five server processes one after the
// other, without taking them out of Consul, and revives each at its old address,
// while 50 callers send idempotent calls without pause.
func TestKilledEndpointsGoUnnoticed(t *testing.T) {
	agent := consultest.Start(t)
	const endpoints, callers = 5, 50
	processes := make([]*process, endpoints)
	for i := range processes {
		processes[i] = startProcess(t, "127.0.0.1:0")
		r := registration(t, "users-"+strconv.Itoa(i), processes[i].addr)
		if err := agent.Client.Agent().ServiceRegister(r); err != nil {
			t.Fatal(err)
		}
	}
	mesh := consulMesh(t, agent)
	if err := mesh.Ready(t.Context(), "users"); err != nil {
		t.Fatal(err)
	}

	load := startLoad(t, mesh, callers, http.MethodGet)
	for i, p := range processes {
		load.awaitAnswers(p.addr)
		p.kill()
		eventually(t, "its breaker opens", func() bool { e, _ := endpoint(mesh, p.addr); return e.Breaker != "closed" })
		processes[i] = startProcess(t, p.addr)
		load.awaitAnswers(p.addr)
	}
	calls, failed := load.end()
	t.Logf("%d calls by %d callers over %d kills, %d errors", calls, callers, endpoints, len(failed))
	if len(failed) > 0 {
		t.Errorf("%d of %d calls failed, want none; the first: %v", len(failed), calls, failed[0])
	}
}
