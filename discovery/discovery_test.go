package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestEndpointValidate(t *testing.T) {
	tests := []struct {
		name string
		e    discovery.Endpoint
		want []string // nil: valid
	}{
		{"plain", discovery.Endpoint{Addr: "10.0.0.1:80"}, nil},
		{"host name", discovery.Endpoint{Addr: "users.internal:80", Weight: discovery.MaxWeight}, nil},
		{"IPv6", discovery.Endpoint{Addr: "[2001:db8::1]:80"}, nil},
		{"IPv6 with a zone", discovery.Endpoint{Addr: "[fe80::1%eth0]:80"}, nil},
		{"empty", discovery.Endpoint{}, []string{"Addr", `""`, "host:port"}},
		{"no port", discovery.Endpoint{Addr: "10.0.0.1"}, []string{"Addr", "10.0.0.1", "host:port"}},
		{"naked IPv6", discovery.Endpoint{Addr: "2001:db8::1:80"}, []string{"brackets"}},
		{"no host", discovery.Endpoint{Addr: ":80"}, []string{"host name"}},
		{"space", discovery.Endpoint{Addr: "a b:80"}, []string{"a b:80"}},
		{"URL", discovery.Endpoint{Addr: "http://a:80"}, []string{"http://a:80"}},
		{"port 0", discovery.Endpoint{Addr: "a:0"}, []string{"1 to 65535"}},
		{"large port", discovery.Endpoint{Addr: "a:65536"}, []string{"1 to 65535"}},
		{"named port", discovery.Endpoint{Addr: "a:http"}, []string{"1 to 65535"}},
		{"negative weight", discovery.Endpoint{ID: "x", Addr: "a:1", Weight: -1}, []string{"x", "Weight", "-1", "1000000"}},
		{"absurd weight", discovery.Endpoint{Addr: "a:1", Weight: discovery.MaxWeight + 1}, []string{"Weight", "1000001"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.e.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Validate: %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func FuzzEndpoint(f *testing.F) {
	for _, addr := range []string{"", "a:1", "[::1]:1", "::1:1", "a:0", "a b:1", "[::1%25lo]:1", "a:99999"} {
		f.Add("id", addr, 1)
	}
	f.Fuzz(func(t *testing.T, id, addr string, weight int) {
		e := discovery.Endpoint{ID: id, Addr: addr, Weight: weight}
		if err := e.Validate(); err != nil {
			return
		}
		if e.EffectiveWeight() < 1 || e.EffectiveWeight() > discovery.MaxWeight || e.Identity() == "" || !e.Equal(e) {
			t.Errorf("%+v is valid with weight %d and identity %q", e, e.EffectiveWeight(), e.Identity())
		}
	})
}

func TestEndpointEqual(t *testing.T) {
	base := discovery.Endpoint{Addr: "a:1", Metadata: map[string]string{"v": "1"}}
	for name, tt := range map[string]struct {
		change func(*discovery.Endpoint)
		equal  bool
	}{
		"explicit zero values": {func(e *discovery.Endpoint) { e.ID, e.Weight = "a:1", 1 }, true},
		"weight":               {func(e *discovery.Endpoint) { e.Weight = 2 }, false},
		"drain":                {func(e *discovery.Endpoint) { e.Drain = true }, false},
		"zone":                 {func(e *discovery.Endpoint) { e.Zone = "b" }, false},
		"region":               {func(e *discovery.Endpoint) { e.Region = "b" }, false},
		"metadata":             {func(e *discovery.Endpoint) { e.Metadata = map[string]string{"v": "2"} }, false},
		"no metadata":          {func(e *discovery.Endpoint) { e.Metadata = nil }, false},
	} {
		other := base
		tt.change(&other)
		if got := base.Equal(other); got != tt.equal {
			t.Errorf("%s: Equal is %v, want %v", name, got, tt.equal)
		}
	}
}

// watch reads snapshots one at a time.
func watch(t *testing.T, r discovery.Resolver, service string) func() discovery.Snapshot {
	t.Helper()
	snapshots := make(chan discovery.Snapshot)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s, err := range r.Watch(ctx, service) {
			if err != nil {
				t.Errorf("Watch: %v", err)
			}
			select {
			case snapshots <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func() discovery.Snapshot { return <-snapshots }
}

func TestServices(t *testing.T) {
	services := discovery.Services{"users": discovery.Addrs("a:1", "b:1"), "empty": nil}
	for name, want := range map[string]discovery.Snapshot{
		"users":  {Endpoints: []discovery.Endpoint{{Addr: "a:1"}, {Addr: "b:1"}}},
		"empty":  {},
		"nobody": {Unknown: true},
	} {
		if diff := cmp.Diff(want, watch(t, services, name)()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A sequence may be left at any yield.
func TestWatchesCanBeLeft(t *testing.T) {
	for _, r := range []discovery.Resolver{discovery.Services{}, discovery.NewRegistry()} {
		for range r.Watch(t.Context(), "users") {
			break
		}
	}
}

func TestRegistryFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := discovery.NewRegistry()
		next := watch(t, r, "users")
		if s := next(); !s.Unknown || len(s.Endpoints) != 0 {
			t.Fatalf("a name nobody registered is %+v, want Unknown", s)
		}
		ctx := t.Context()
		first, err := r.Register(ctx, "users", discovery.Endpoint{ID: "1", Addr: "a:1"})
		if err != nil {
			t.Fatal(err)
		}
		before := next()
		if _, err := r.Register(ctx, "users", discovery.Endpoint{ID: "1", Addr: "a:1", Weight: 5}); err != nil {
			t.Fatal(err)
		}
		after := next()
		if before.Endpoints[0].Weight != 0 || len(after.Endpoints) != 1 || after.Endpoints[0].Weight != 5 {
			t.Errorf("the same ID again: %+v then %+v, want an update and the old snapshot untouched", before, after)
		}
		if _, err := r.Register(ctx, "users", discovery.Endpoint{Addr: "b:1"}); err != nil {
			t.Fatal(err)
		}
		if s := next(); len(s.Endpoints) != 2 {
			t.Errorf("%+v, want two endpoints", s)
		}
		for range 2 {
			if err := first.Deregister(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if s := next(); len(s.Endpoints) != 1 || s.Endpoints[0].Addr != "b:1" {
			t.Errorf("after Deregister: %+v", s)
		}
		if err := r.Set("users"); err != nil {
			t.Fatal(err)
		}
		for {
			if s := next(); len(s.Endpoints) == 0 {
				if s.Unknown {
					t.Error("an empty service is Unknown, want it known")
				}
				return
			}
		}
	})
}

func TestRegistryRefuses(t *testing.T) {
	r := discovery.NewRegistry()
	cancelled, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("no more")
	cancel(reason)
	if _, err := r.Register(cancelled, "users", discovery.Endpoint{Addr: "a:1"}); !errors.Is(err, reason) {
		t.Errorf("Register with an ended context: %v, want its cause", err)
	}
	if _, err := r.Register(t.Context(), "", discovery.Endpoint{Addr: "a:1"}); !errors.Is(err, discovery.ErrInvalid) {
		t.Errorf("Register without a name: %v, want ErrInvalid", err)
	}
	if _, err := r.Register(t.Context(), "users", discovery.Endpoint{Addr: "a"}); !errors.Is(err, discovery.ErrInvalid) {
		t.Errorf("Register of a malformed endpoint: %v, want ErrInvalid", err)
	}
	if err := r.Set("users", discovery.Endpoint{Addr: "a:1"}, discovery.Endpoint{Addr: "a:1"}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("Set of duplicates: %v, want an error that says so", err)
	}
}

func ExampleRegistry() {
	registry := discovery.NewRegistry()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	registration, _ := registry.Register(ctx, "users", discovery.Endpoint{Addr: "10.0.0.1:8080"})
	for snapshot := range registry.Watch(ctx, "users") {
		fmt.Println(len(snapshot.Endpoints))
		if len(snapshot.Endpoints) == 0 {
			break
		}
		_ = registration.Deregister(ctx)
	}
	// Output:
	// 1
	// 0
}
