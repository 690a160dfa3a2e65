package fairlead_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// Metadata, zone and weight change in place; a new endpoint joins; one that
// leaves finishes what is in flight and then its connections close.
func TestUpdatesTouchNoConnection(t *testing.T) {
	release := make(chan struct{})
	slow := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, " end")
	})
	other := newServer(t, hello)
	registry := discovery.NewRegistry()
	set := func(endpoints ...discovery.Endpoint) {
		t.Helper()
		if err := registry.Set("users", endpoints...); err != nil {
			t.Fatal(err)
		}
	}
	set(discovery.Endpoint{ID: "1", Addr: slow.addr})
	mesh := newMeshOver(t, registry)
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	set(discovery.Endpoint{ID: "1", Addr: slow.addr, Weight: 7, Zone: "b", Metadata: map[string]string{"v": "2"}})
	eventually(t, "the weight is known", func() bool { return mesh.Status().Services[0].Endpoints[0].Weight == 7 })
	if e := mesh.Status().Services[0].Endpoints[0]; e.InFlight != 1 || e.Picks != 1 || e.Zone != "b" {
		t.Errorf("after the update: %+v, want its counts kept", e)
	}
	if n := slow.conns.Load(); n != 1 {
		t.Errorf("%d connections, want the first still", n)
	}
	set(discovery.Endpoint{ID: "2", Addr: other.addr})
	eventually(t, "the endpoint is replaced", func() bool {
		es := mesh.Status().Services[0].Endpoints
		return len(es) == 1 && es[0].ID == "2"
	})
	close(release)
	if got := readAll(t, resp); got != "begin end" {
		t.Errorf("the call in flight got %q, want all of it", got)
	}
	resp, err = mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	if n := slow.calls.Load(); n != 1 {
		t.Errorf("the endpoint that left had %d calls, want only the first", n)
	}
}

// An empty answer after a full one is held; then it is obeyed.
func TestEmptyAnswerIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		answers := make(chan discovery.Snapshot)
		full := discovery.Snapshot{Endpoints: f.services()["users"]}
		resolver := watchFunc(func(ctx context.Context, _ string, yield func(discovery.Snapshot, error) bool) {
			for s, ok := full, true; ok; {
				if !yield(s, nil) {
					return
				}
				select {
				case s = <-answers:
				case <-ctx.Done():
					return
				}
			}
		})
		mesh := newMeshOver(t, resolver, fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) { return f.endpoints[0], nil }))
		call := func() error {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
			if err == nil {
				readAll(t, resp)
			}
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		answers <- discovery.Snapshot{}
		time.Sleep(29 * time.Second)
		if err := call(); err != nil {
			t.Errorf("29 s after an empty answer: %v, want the last good set", err)
		}
		if !mesh.Status().Services[0].Held {
			t.Error("Status does not say that the empty answer is held")
		}
		time.Sleep(2 * time.Second)
		if err := call(); !errors.Is(err, balancer.ErrNoEndpoints) {
			t.Errorf("31 s after it: %v, want ErrNoEndpoints", err)
		}
		answers <- full
		synctest.Wait()
		if err := call(); err != nil {
			t.Errorf("after a full answer: %v", err)
		}
		answers <- discovery.Snapshot{Unknown: true}
		time.Sleep(10 * time.Second)
		answers <- full
		time.Sleep(30 * time.Second)
		if err := call(); err != nil {
			t.Errorf("an empty answer that was taken back: %v", err)
		}
	})
}

// Errors keep the last snapshot; a watch that ends is begun again; a failed
// first look-up is tried again in milliseconds.
func TestResolverFailsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		var watches atomic.Int64
		resolver := watchFunc(func(_ context.Context, _ string, yield func(discovery.Snapshot, error) bool) {
			if watches.Add(1) <= 3 {
				yield(discovery.Snapshot{}, errors.New("registry down"))
				return
			}
			yield(discovery.Snapshot{Endpoints: f.services()["users"]}, nil)
			yield(discovery.Snapshot{}, errors.New("registry down again"))
		})
		mesh := newMeshOver(t, resolver, fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) { return f.endpoints[0], nil }))
		began := time.Now()
		for range 20 {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
			if took := time.Since(began); took > time.Second && watches.Load() < 5 {
				t.Fatalf("the first call took %v, want milliseconds", took)
			}
			time.Sleep(time.Second)
		}
		if n := watches.Load(); n > 60 {
			t.Errorf("%d watches in 20 s, want a back-off between them", n)
		}
		if got := mesh.Status().Services[0].ResolverError; got != "registry down again" {
			t.Errorf("Status has the resolver's error %q", got)
		}
	})
}

// A registry that is down from the start is a typed error within five seconds.
func TestNeverResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := newMeshOver(t, watchFunc(func(_ context.Context, _ string, yield func(discovery.Snapshot, error) bool) {
			yield(discovery.Snapshot{}, errors.New("registry down"))
		}))
		began := time.Now()
		_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(context.Background()))
		if !errors.Is(err, fairlead.ErrUnresolved) || !strings.Contains(err.Error(), "registry down") {
			t.Errorf("error %v, want ErrUnresolved with the resolver's reason", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
	})
}

func TestIdleServicesAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t)
		if !succeeds(mesh) {
			t.Fatal("the first call failed")
		}
		time.Sleep(9 * time.Minute)
		if n := len(mesh.Status().Services); n != 1 {
			t.Fatalf("%d services after 9 min, want 1", n)
		}
		time.Sleep(3 * time.Minute)
		if n := len(mesh.Status().Services); n != 0 {
			t.Fatalf("%d services after 12 idle minutes, want 0", n)
		}
		if !succeeds(mesh) {
			t.Error("the service did not come back")
		}
		held, err := mesh.Hold("users")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := len(mesh.Status().Services); n != 1 {
			t.Errorf("%d services while one is held, want 1", n)
		}
		held.Close()
		held.Close()
		time.Sleep(time.Hour)
		if n := len(mesh.Status().Services); n != 0 {
			t.Errorf("%d services after the hold, want 0", n)
		}
	})
}

// Services are let go and named again while others are called, and the Mesh shuts down
// in the end: no call gets another's answer, or an error that is not its own.
func TestServicesComeAndGoWhileTheyAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		services, watches := discovery.Services{}, atomic.Int64{}
		for i := range 20 {
			name := fmt.Sprint("service-", i)
			services[name] = discovery.Addrs(name + ":80")
		}
		resolver := watchFunc(func(ctx context.Context, name string, yield func(discovery.Snapshot, error) bool) {
			watches.Add(1)
			services.Watch(ctx, name)(yield)
		})
		mesh := newMeshOver(t, resolver, fairlead.WithMaxServices(12), fairlead.WithServiceIdle(5*ms),
			fairlead.WithEndpointTransport(func(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
				return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
					return respond(req, 200, "X-Addr", e.Addr), nil
				}), nil
			}))
		var over atomic.Bool
		call := func(name string) {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://"+name+"/", nil))
			switch {
			case err == nil:
				if addr := resp.Header.Get("X-Addr"); addr != name+":80" {
					t.Errorf("%s answered for %s", addr, name)
				}
				time.Sleep(rand.N(ms))
				resp.Body.Close()
			case over.Load() && errors.Is(err, fairlead.ErrClosed):
			case services[name] == nil && errors.Is(err, fairlead.ErrUnknownService):
			default:
				t.Errorf("%s: %v", name, err)
			}
		}
		var callers sync.WaitGroup
		for caller := range 8 {
			callers.Go(func() {
				for range 200 {
					call(fmt.Sprint("service-", caller%2+2*rand.IntN(11)))
					time.Sleep(rand.N(5 * ms))
				}
			})
		}
		time.Sleep(400 * ms)
		over.Store(true)
		if err := mesh.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		callers.Wait()
		if n := watches.Load(); n < 100 {
			t.Errorf("%d watches, want many: services are to come and go", n)
		}
	})
}

func TestShutdownWaitsForBodies(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, " end")
	})
	mesh := newMesh(t, []*server{s})
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := mesh.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown with a call in flight: %v, want the deadline", err)
	}
	if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); err != fairlead.ErrClosed {
		t.Errorf("a call during Shutdown: %v, want ErrClosed", err)
	}
	done := make(chan error)
	go func() { done <- mesh.Shutdown(t.Context()) }()
	close(release)
	if got := readAll(t, resp); got != "begin end" {
		t.Errorf("the call in flight got %q, want all of it", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// What the middleware of a call in flight sends is no new call. What it sends when that
// call is over is one.
func TestShutdownWaitsForMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		late := make(chan error, 3)
		mesh := f.mesh(t, fairlead.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				time.AfterFunc(time.Minute, func() {
					resp, err := next.RoundTrip(req)
					if late <- err; err == nil {
						resp.Body.Close()
					}
				})
				time.Sleep(time.Second)
				return next.RoundTrip(req)
			})
		}))
		first, second := f.held(t, mesh, 1), f.held(t, mesh, 1)
		time.AfterFunc(500*ms, func() {
			if err := mesh.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
		third := f.held(t, mesh, 1) // its middleware sends on while the Mesh shuts down
		first()
		third()
		time.Sleep(2 * time.Minute)
		for i, want := range []error{fairlead.ErrClosed, nil, fairlead.ErrClosed} {
			if err := <-late; err != want {
				t.Errorf("what the middleware of call %d sent later: %v, want %v", i, err, want)
			}
		}
		second()
		time.Sleep(time.Second)
		if !mesh.Status().Closed {
			t.Error("not closed at the end")
		}
	})
}

// Close ends calls wherever they are: waiting for a snapshot, for headers, for
// a body, or between attempts.
func TestCloseInterrupts(t *testing.T) {
	headers := newServer(t, hangs(t))
	bodies := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	waits := newServer(t, status(503, "Retry-After", "9"))
	known := discovery.Services{
		"headers": discovery.Addrs(headers.addr), "bodies": discovery.Addrs(bodies.addr), "waits": discovery.Addrs(waits.addr),
	}
	mesh := newMeshOver(t, watchFunc(func(ctx context.Context, service string, yield func(discovery.Snapshot, error) bool) {
		if _, ok := known[service]; ok {
			known.Watch(ctx, service)(yield)
		}
		<-ctx.Done()
	}))
	resp, err := mesh.Client().Get("http://bodies/")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, name := range []string{"headers", "silent", "waits"} {
		wg.Go(func() { _, errs[i] = mesh.RoundTrip(request(t, http.MethodGet, "http://"+name+"/", nil)) })
	}
	eventually(t, "all calls are under way", func() bool {
		return headers.calls.Load() == 1 && waits.calls.Load() == 1 && slices.ContainsFunc(mesh.Status().Services, func(s fairlead.ServiceStatus) bool { return s.Name == "silent" && s.InFlight == 1 })
	})
	if err := mesh.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for i, err := range errs[:2] {
		if err != fairlead.ErrClosed {
			t.Errorf("call %d: %v, want ErrClosed", i, err)
		}
	}
	for range 2 { // the second time by what is remembered: the attempt may be another call's by then
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("the open body ended with %v, want ErrClosed", err)
		}
	}
	resp.Body.Close()
}

func TestReady(t *testing.T) {
	s := newServer(t, hello)
	registry := discovery.NewRegistry()
	mesh := newMeshOver(t, registry)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := mesh.Ready(short, "users", "orders")
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fairlead.ErrUnknownService) ||
		!strings.Contains(err.Error(), "users") || !strings.Contains(err.Error(), "orders") {
		t.Errorf("error %v, want both services named with the reason", err)
	}
	done := make(chan error)
	go func() { done <- mesh.Ready(t.Context(), "users") }()
	if _, err := registry.Register(t.Context(), "users", discovery.Endpoint{Addr: s.addr}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Ready: %v", err)
	}
}

func TestStatusIsPlainData(t *testing.T) {
	s := newServer(t, hello)
	mesh := newMesh(t, []*server{s}, fairlead.WithBalancer(balancer.RoundRobin()))
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	text, err := json.Marshal(mesh.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"users"`, `"policy":"round_robin"`, `"state":"ready"`, `"breaker":"closed"`, `"picks":1`, s.addr} {
		if !strings.Contains(string(text), want) {
			t.Errorf("status %s does not say %s", text, want)
		}
	}
}

// What other protocols have in flight is waited for; that they hold the service
// is not.
func TestShutdownWaitsForLeases(t *testing.T) {
	f := newFleet(1)
	mesh := f.mesh(t)
	held, err := mesh.Hold("users")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := mesh.Status().Services[0].InFlight; n != 0 {
		t.Errorf("%d calls in flight while the service is only held, want 0", n)
	}
	lease, err := held.Balancer().Pick(&balancer.Info{})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := mesh.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown with a lease out: %v, want the deadline", err)
	}
	lease.Release()
	if err := mesh.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	select {
	case <-held.Ended():
	default:
		t.Error("Ended is not closed")
	}
}

// The user's functions may use the Mesh.
func TestAdjustmentMayUseTheMesh(t *testing.T) {
	s := newServer(t, hello)
	var mesh *fairlead.Mesh
	mesh = newMesh(t, []*server{s}, fairlead.WithTransport(func(*http.Transport) {
		mesh.CloseIdleConnections()
		mesh.Status()
	}))
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
}
