package consul_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// writeUsers is all that a Registrar needs.
const writeUsers = `service "users" { policy = "write" }`

// TestLeastRights does all there is to do with the policy that the package's
// documentation names.
func TestLeastRights(t *testing.T) {
	agent := startDenying(t, "")
	_, secret := newToken(t, agent, "users", writeUsers)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr, Token: root}), "users")
	e := discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"}
	for _, check := range []consul.Check{consul.TTLCheck{TTL: time.Second}, consul.TCPCheck{Addr: agent.Addr}} {
		registrar := newRegistrar(t, consul.Config{Address: agent.Addr, Token: secret}, check)
		registration := enroll(t, registrar, "users", e)
		f.until("the endpoint", func(e event) bool { return e.has("10.0.0.1:80") })
		f.quiet(1500 * time.Millisecond)
		deregister(t, agent, "u1") // as if forgotten
		f.until("its absence", func(e event) bool { return e.has() })
		f.until("the endpoint again", func(e event) bool { return e.has("10.0.0.1:80") })
		e.Drain = true
		enroll(t, registrar, "users", e)
		f.until("its drain", func(e event) bool { return e.has("10.0.0.1:80") && e.Endpoints[0].Drain })
		e.Drain = false
		enroll(t, registrar, "users", e)
		f.until("the end of its drain", func(e event) bool { return e.has("10.0.0.1:80") && !e.Endpoints[0].Drain })
		leave(t, registration)
		f.until("its absence", func(e event) bool { return e.has() })
	}
}

// TestMissingWrite checks that a missing right is an error, and leaves nothing.
func TestMissingWrite(t *testing.T) {
	agent := startDenying(t, "")
	_, read := newToken(t, agent, "read", readUsers)
	_, other := newToken(t, agent, "other", `service "orders" { policy = "write" }`)
	for name, token := range map[string]string{"none": "", "read only": read, "of another service": other, "that does not exist": "a1b2c3"} {
		t.Run("token "+name, func(t *testing.T) {
			registrar := newRegistrar(t, consul.Config{Address: agent.Addr, Token: token})
			_, err := registrar.Register(t.Context(), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
			var status api.StatusError
			if !errors.As(err, &status) || status.Code != 403 {
				t.Errorf("got %v, want a 403", err)
			}
			nothingAt(t, agent)
		})
	}
}

func nothingAt(t *testing.T, agent *consultest.Agent) {
	t.Helper()
	if services, err := agent.Client.Agent().Services(); err != nil || len(services) != 0 {
		t.Errorf("left behind: %v, %v", services, err)
	}
}

// TestTokenOfRegistrar replaces the token of a Registrar. The agent keeps the
// token of a registration and tells the servers with it, so it must get the new
// one before the endpoint changes, and can do without for a while.
func TestTokenOfRegistrar(t *testing.T) {
	agent := startDenying(t, "")
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("early %v", early), func(t *testing.T) {
			accessor, secret := newToken(t, agent, fmt.Sprint("first-", early), writeUsers)
			file := filepath.Join(t.TempDir(), "token")
			set := writer(t, file)
			set(secret)
			config := quietly(agent)
			config.TokenFile = file
			p := ttlPatient()
			registrar := newRegistrar(t, config, p.check)
			enroll(t, registrar, "users", discovery.Endpoint{ID: "u1", Addr: p.addr})
			f := follow(t, newResolver(t, consul.Config{Address: agent.Addr, Token: root}), "users")
			f.until("the endpoint", func(e event) bool { return e.has(p.addr) })
			_, second := newToken(t, agent, fmt.Sprint("second-", early), writeUsers)
			if early {
				set(second)
				f.quiet(time.Second)
			}
			if _, err := agent.Client.ACL().TokenDelete(accessor, nil); err != nil {
				t.Fatal(err)
			}
			p.set(false)
			if !early {
				f.quiet(3 * time.Second) // the TTL runs out, which the agent cannot tell
				set(second)
			}
			f.until("its illness", func(e event) bool { return e.has() })
			p.set(true)
			f.until("its health", func(e event) bool { return e.has(p.addr) })
		})
	}
}
