package discovery_test

import (
	"testing"
	"testing/synctest"

	"github.com/fairlead-go/fairlead/discovery"
)

// whoami knows every name, and serves it by an endpoint whose zone is the
// pattern and whose address is the name.
func whoami(pattern string, names ...string) discovery.Services {
	s := discovery.Services{}
	for _, name := range names {
		s[name] = []discovery.Endpoint{{Addr: name, Zone: pattern}}
	}
	return s
}

func TestMux(t *testing.T) {
	names := []string{
		"users", "users:8080", "users:9090", "a.consul", "consul", ".consul", "b.dc2.consul", "x.b.dc2.consul", "dc2.consul",
		"c.consul:8500", "c.consul:80", "other", "other:1", "[::1]", "[::1]:80", "[::2]:80", "",
	}
	m := discovery.Mux{}
	for _, pattern := range []string{"users", "users:9090", "*.consul", "*.dc2.consul", "*.consul:8500", "*", "[::1]"} {
		m[pattern] = whoami(pattern, names...)
	}
	for name, want := range map[string]string{
		"users":          "users",
		"users:8080":     "users",
		"users:9090":     "users:9090",
		"a.consul":       "*.consul",
		"consul":         "*",
		".consul":        "*",
		"b.dc2.consul":   "*.dc2.consul",
		"x.b.dc2.consul": "*.dc2.consul",
		"dc2.consul":     "*.consul",
		"c.consul:8500":  "*.consul:8500",
		"c.consul:80":    "*.consul",
		"other":          "*",
		"other:1":        "*",
		"[::1]":          "[::1]",
		"[::1]:80":       "[::1]",
		"[::2]:80":       "*",
		"":               "*",
	} {
		for s, err := range m.Watch(t.Context(), name) {
			if err != nil || len(s.Endpoints) != 1 || s.Endpoints[0].Zone != want || s.Endpoints[0].Addr != name {
				t.Errorf("%q: %+v, %v, want that of %q, asked for the name unchanged", name, s, err, want)
			}
			break
		}
	}
}

func TestMuxWithoutAMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record(t, discovery.Mux{"users": discovery.Services{}}, "orders").came(`unknown!discovery: no pattern of the Mux matches the name "orders"`)
	})
}

func TestMuxRefresh(t *testing.T) {
	one, other := newPuppet(), newPuppet()
	m := discovery.Mux{"users": one, "*": other, "fixed": discovery.Services{}}
	for _, name := range []string{"users", "users:80", "orders", "fixed"} {
		m.Refresh(name)
	}
	discovery.Mux{}.Refresh("users")
	if a, b := one.refreshed.Load(), other.refreshed.Load(); a != 2 || b != 1 {
		t.Errorf("%d and %d calls of Refresh were passed on, want 2 and 1", a, b)
	}
}

func TestMuxValidate(t *testing.T) {
	services := discovery.Services{}
	for pattern, ok := range map[string]bool{
		"users": true, "*": true, "*.consul": true, "*.dc2.consul": true, "users:80": true, "*.consul:80": true, "[::1]:80": true,
		"": false, "Users": false, "users.": false, "**": false, "*consul": false, "a.*": false, "*.*.b": false, "*.": false, "*..b": false,
		"*.Consul": false, "*.consul.": false, "http://users": false, "a b": false, ".consul": false, "*:80": false,
	} {
		want := []string{"Mux", "pattern", pattern}
		if ok {
			want = nil
		}
		refuses(t, pattern, discovery.Mux{pattern: services}.Validate(), want)
	}
	refuses(t, "nil", discovery.Mux{"a": nil, "b": discovery.Services(nil)}.Validate(), []string{`Mux["a"] is nil`, `Mux["b"] is nil`})
	refuses(t, "inner errors", discovery.Mux{"a": invalid{}, "b": discovery.Services{"x": {{Addr: "y"}}}}.Validate(), []string{`Mux["a"]`, "not in order", `Mux["b"]`, `"y"`})
	refuses(t, "empty", discovery.Mux{}.Validate(), []string{"empty"})
}
