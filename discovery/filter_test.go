package discovery_test

import (
	"testing"
	"testing/synctest"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet()
		f := discovery.Filter(p, func(e discovery.Endpoint) bool { return e.Zone != "b" })
		l := record(t, f, "users")
		for _, step := range []struct{ says, want string }{
			{"!at first", "!at first"},
			{"unknown", "unknown"},
			{"unknown", ""},
			{"a:1 x:1@b c:1@c", "a:1 c:1@c"},
			{"a:1 y:1@b z:1@b c:1@c", ""},
			{"c:1@c a:1", ""},
			{"!again", "!again"},
			{"a:1 c:1@c", "a:1 c:1@c"}, // it is true again
			{"a:1 c:1@c", ""},
			{"x:1@b", "empty"},
			{"empty", ""},
			{"unknown!no such name", "unknown!no such name"},
		} {
			p.says(step.says)
			if step.want == "" {
				l.came()
				continue
			}
			l.came(step.want)
		}
		f.Refresh("users")
		if p.refreshed.Load() != 1 {
			t.Error("Refresh was not passed on")
		}
	})
}

// What the inner resolver yielded belongs to others too.
func TestFilterLeavesItsInputAlone(t *testing.T) {
	endpoints := discovery.Addrs("a:1", "b:1", "c:1")
	f := discovery.Filter(discovery.Services{"users": endpoints}, func(e discovery.Endpoint) bool { return e.Addr == "c:1" })
	for s := range f.Watch(t.Context(), "users") {
		if len(s.Endpoints) != 1 || s.Endpoints[0].Addr != "c:1" {
			t.Errorf("%+v, want c:1", s)
		}
		break
	}
	for i, want := range []string{"a:1", "b:1", "c:1"} {
		if endpoints[i].Addr != want {
			t.Errorf("endpoint %d is %s now, want %s", i, endpoints[i].Addr, want)
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	keep := func(discovery.Endpoint) bool { return true }
	refuses(t, "no keep", discovery.Filter(discovery.Services{}, nil).Validate(), []string{"keep", "nil"})
	refuses(t, "no resolver", discovery.Filter(nil, keep).Validate(), []string{"Filter's resolver", "nil"})
	refuses(t, "inner errors", discovery.Filter(invalid{}, keep).Validate(), []string{"Filter's resolver", "not in order"})
	refuses(t, "fine", discovery.Filter(discovery.Services{}, keep).Validate(), nil)
	synctest.Test(t, func(t *testing.T) {
		record(t, discovery.Filter(discovery.Services{}, nil), "users").came("!discovery: Filter's keep is nil, want a function")
	})
}

// A Watch that returns nil, and a resolver that is nil, are errors.
func TestWrappersOfNothing(t *testing.T) {
	for name, r := range map[string]discovery.Resolver{"nil Watch": nilWatch{}, "nil": nil} {
		for wrapper, wrapped := range map[string]discovery.Resolver{
			"Filter": discovery.Filter(r, func(discovery.Endpoint) bool { return true }),
			"Mux":    discovery.Mux{"*": r},
			"Merge":  discovery.Merge(r),
			"Hold":   discovery.Hold(r, 0),
		} {
			wrapped.(discovery.Refresher).Refresh("users")
			some := false
			for s, err := range wrapped.Watch(t.Context(), "users") {
				some = true
				if err == nil || s.Unknown || len(s.Endpoints) > 0 {
					t.Errorf("%s of %s: %+v, %v, want an error", wrapper, name, s, err)
				}
				break
			}
			if !some {
				t.Errorf("%s of %s said nothing, want an error", wrapper, name)
			}
		}
	}
}
