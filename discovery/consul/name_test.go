package consul_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

func TestParseName(t *testing.T) {
	for _, test := range []struct {
		name, service, datacenter string
		bad                       bool
	}{
		{name: "users", service: "users"},
		{name: "Users.", service: "users"},
		{name: "my_users-2", service: "my_users-2"},
		{name: "users.internal", service: "users.internal"},
		{name: "users.service.consul", service: "users"},
		{name: "USERS.Service.Consul.", service: "users"},
		{name: "users.service.dc2.consul", service: "users", datacenter: "dc2"},
		{name: "service.service.consul", service: "service"},
		{name: "service.service.service.consul", bad: true},
		{name: "v2.users.service.consul", bad: true},
		{name: "v2.users.service.dc2.consul", bad: true},
		{name: "_users._tcp.service.consul", bad: true},
		{name: "node1.node.consul", bad: true},
		{name: ".service.consul", bad: true},
		{name: "users.consul", bad: true},
		{name: "consul", service: "consul"},
		{name: "", bad: true},
		{name: ".", bad: true},
		{name: "..", bad: true},
		{name: "users..", bad: true},
		{name: ".users", bad: true},
		{name: "a..users", bad: true},
		{name: "users:80", bad: true},
		{name: "[::1]", bad: true},
		{name: "a/b", bad: true},
		{name: "a%2fb", bad: true},
		{name: "a b", bad: true},
		{name: "üsers", bad: true},
		{name: strings.Repeat("x", 253), service: strings.Repeat("x", 253)},
		{name: strings.Repeat("x", 254), bad: true},
		{name: "users.service." + strings.Repeat("x", 129) + ".consul", bad: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			service, datacenter, err := consul.ParseName(test.name)
			if service != test.service || datacenter != test.datacenter || (err != nil) != test.bad {
				t.Errorf("got %q, %q, %v, want %q, %q, bad %v", service, datacenter, err, test.service, test.datacenter, test.bad)
			}
		})
	}
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"users", "users.service.consul", "users.service.dc2.consul", "..", "a:1", "A.SERVICE..consul"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		service, datacenter, err := consul.ParseName(name)
		if err != nil {
			return
		}
		for _, part := range []string{service, datacenter} {
			if part != strings.ToLower(part) || part != url.PathEscape(part) || part == "." || part == ".." {
				t.Errorf("%q became %q in %q", name, service, datacenter)
			}
		}
		if again, _, err := consul.ParseName(service); service == "" || err == nil && again != service {
			t.Errorf("%q became %q and that %q, %v", name, service, again, err)
		}
	})
}
