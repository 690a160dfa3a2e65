package consultest_test

import (
	"testing"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAgent(t *testing.T) {
	const token = "5b6ff2a0-9a34-4a38-8a3e-2f0b4f0f4b1d"
	for _, test := range []struct {
		name    string
		options []consultest.Option
		dc      string
	}{
		{"plain", nil, "dc1"},
		{"HCL", []consultest.Option{consultest.WithConfig(`datacenter = "east"`)}, "east"},
		{"JSON", []consultest.Option{consultest.WithConfig(`{"datacenter": "west"}`)}, "west"},
		{"ACL", []consultest.Option{
			consultest.WithToken(token),
			consultest.WithConfig(`acl { enabled = true, default_policy = "deny", tokens { initial_management = "` + token + `" } }`),
		}, "dc1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := consultest.Start(t, test.options...)
			self, err := agent.Client.Agent().Self()
			if err != nil {
				t.Fatal(err)
			}
			if dc := self["Config"]["Datacenter"]; dc != test.dc {
				t.Errorf("datacenter %v, want %v", dc, test.dc)
			}
		})
	}
}

func TestRestart(t *testing.T) {
	agent := consultest.Start(t)
	addr := agent.Addr
	if err := agent.Client.Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "users", Port: 80}); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){agent.Stop, agent.Kill, func() {}} {
		end()
		agent.Restart()
		services, err := agent.Client.Agent().Services()
		if err != nil || len(services) != 0 || agent.Addr != addr {
			t.Errorf("after a restart: %v, %v at %s, want nothing at %s", services, err, agent.Addr, addr)
		}
	}
	agent.Stop()
	agent.Stop()
	if _, err := agent.Client.Agent().Self(); err == nil {
		t.Error("a stopped agent answers")
	}
}
