package consul_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// FuzzDefine checks that whatever can be registered is within Consul's limits,
// and that a Resolver reads it as it was.
func FuzzDefine(f *testing.F) {
	f.Add("users", "u1", "10.0.0.1:80", 3, "eu", "eu-1", "version", "2", "a,b")
	f.Add("Users.service.consul", "", "[fd00::1%eth0]:80", 0, "", "a", "zone", "a", "")
	f.Add("users", "a/../b", "0.0.0.0:80", -1, "\xff", "", "consul-x", "\x00", ",")
	registrar, err := consul.NewRegistrar(consul.Config{}, consul.HTTPCheck{}, consul.GRPCCheck{Service: "x"}, consul.TTLCheck{})
	if err != nil {
		f.Fatal(err)
	}
	key := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	f.Fuzz(func(t *testing.T, service, id, addr string, weight int, region, zone, k, v, tags string) {
		e := discovery.Endpoint{ID: id, Addr: addr, Weight: weight, Region: region, Zone: zone, Metadata: map[string]string{k: v}}
		if tags != "" {
			e.Metadata[consul.MetadataTags] = tags
		}
		s, err := consul.Define(registrar, service, e)
		if err != nil {
			return
		}
		if s.ID == "" || s.Name != strings.ToLower(s.Name) || s.Weights.Passing < 1 || s.Weights.Passing > 65535 || len(s.Checks) != 3 {
			t.Errorf("defined %+v", s)
		}
		for k, v := range s.Meta {
			if !key.MatchString(k) || strings.HasPrefix(k, "consul-") || len(v) > 512 {
				t.Errorf("metadata %q: %q", k, v)
			}
		}
		entry, err := json.Marshal([]any{map[string]any{"Node": map[string]any{"Node": "n"}, "Service": s}})
		if err != nil {
			t.Fatal(err)
		}
		endpoints, problems, err := consul.Decode(entry)
		if err != nil || len(problems) > 0 || len(endpoints) != 1 {
			t.Fatalf("a Resolver reads %v, %v, %v", endpoints, problems, err)
		}
		e.ID = "n/" + s.ID
		if e.Region == "" {
			e.Region = e.Metadata["region"] // read from there
			if e.Zone != "" {
				e.Metadata["zone"] = e.Zone
			}
			e.Zone = e.Metadata["zone"]
		}
		if !endpoints[0].Equal(e) {
			t.Errorf("read otherwise: %s", cmp.Diff(e, endpoints[0]))
		}
	})
}
