package consul_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

const root = "5b6ff2a0-9a34-4a38-8a3e-2f0b4f0f4b1d"

func startDenying(t *testing.T, extra string) *consultest.Agent {
	t.Helper()
	return consultest.Start(t, consultest.WithToken(root), consultest.WithConfig(
		`acl { enabled = true, default_policy = "deny", tokens { initial_management = "`+root+`", agent = "`+root+`" `+extra+` } }`))
}

// newToken makes a token that may do what rules say.
func newToken(t *testing.T, agent *consultest.Agent, name, rules string) (accessor, secret string) {
	t.Helper()
	if _, _, err := agent.Client.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil); err != nil {
		t.Fatal(err)
	}
	token, _, err := agent.Client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: name}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessorID, token.SecretID
}

const readUsers = `service "users" { policy = "read" } node_prefix "" { policy = "read" }`

// TestMissingRight checks that an empty answer for want of a right is an error.
func TestMissingRight(t *testing.T) {
	agent := startDenying(t, "")
	register(t, agent, instance("u1", 80))
	_, other := newToken(t, agent, "other", `service "orders" { policy = "read" } node_prefix "" { policy = "read" }`)
	_, noNode := newToken(t, agent, "no-node", `service "users" { policy = "read" }`)
	for _, test := range []struct {
		name, token string
		denied      bool
	}{
		{"no token", "", true},
		{"a token for another service", other, true},
		{"a token without node:read", noNode, true},
		{"a token that does not exist", "a1b2c3", false}, // that is a 403
	} {
		t.Run(test.name, func(t *testing.T) {
			f := follow(t, newResolver(t, consul.Config{Address: agent.Addr, Token: test.token}), "users")
			for range 4 {
				if e := f.next("error"); e.err == nil || e.Unknown || errors.Is(e.err, consul.ErrDenied) != test.denied {
					t.Fatalf("got %+v, %v, want an error and nothing else", e.Snapshot, e.err)
				}
			}
		})
	}
}

// TestEmptyWithRight checks that a reader who has the right obeys an empty
// answer although the agent denies by default.
func TestEmptyWithRight(t *testing.T) {
	agent := startDenying(t, "")
	_, secret := newToken(t, agent, "users", readUsers)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr, Token: secret}), "users")
	if e := f.next("unknown"); !e.Unknown || e.err != nil {
		t.Fatalf("got %+v, %v, want Unknown", e.Snapshot, e.err)
	}
	register(t, agent, instance("u1", 80))
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
	deregister(t, agent, "u1")
	if e := f.next("empty snapshot"); !e.has() {
		t.Fatalf("got %+v, %v, want a known and empty snapshot", e.Snapshot, e.err)
	}
}

// TestAgentToken is the same with the right in the agent's default token.
func TestAgentToken(t *testing.T) {
	agent := startDenying(t, `, default = "`+root+`"`)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	if e := f.next("unknown"); !e.Unknown || e.err != nil {
		t.Fatalf("got %+v, %v, want Unknown", e.Snapshot, e.err)
	}
}

// TestRevokedRight takes the right away from a token in use.
func TestRevokedRight(t *testing.T) {
	agent := startDenying(t, "")
	register(t, agent, instance("u1", 80))
	_, secret := newToken(t, agent, "users", readUsers)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr, Token: secret, Wait: time.Second}), "users")
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
	policy, _, err := agent.Client.ACL().PolicyReadByName("users", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy.Rules = `service "orders" { policy = "read" }`
	if _, _, err := agent.Client.ACL().PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if e := f.next("error"); e.err == nil {
			t.Fatalf("got %+v, want only errors: what is known must be kept", e.Snapshot)
		}
	}
}

// TestTokenRotation replaces a token, by file and by function.
func TestTokenRotation(t *testing.T) {
	agent := startDenying(t, "")
	register(t, agent, instance("u1", 80))
	for _, test := range []struct {
		name string
		// config returns what to watch with, and what sets the token.
		config func(t *testing.T) (consul.Config, func(string))
	}{
		{"TokenFile", func(t *testing.T) (consul.Config, func(string)) {
			file := filepath.Join(t.TempDir(), "token")
			return consul.Config{TokenFile: file}, writer(t, file)
		}},
		{"CONSUL_HTTP_TOKEN_FILE", func(t *testing.T) (consul.Config, func(string)) {
			file := filepath.Join(t.TempDir(), "token")
			t.Setenv("CONSUL_HTTP_TOKEN_FILE", file)
			t.Setenv("CONSUL_HTTP_TOKEN", "the file goes before this")
			return consul.Config{}, writer(t, file)
		}},
		{"TokenSource", func(*testing.T) (consul.Config, func(string)) {
			var token atomic.Value
			return consul.Config{TokenSource: func(context.Context) (string, error) { return token.Load().(string), nil }},
				func(s string) { token.Store(s) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, set := test.config(t)
			set("not-yet")
			config.Address, config.Wait = agent.Addr, time.Second
			resolver := newResolver(t, config)
			f := follow(t, resolver, "users")
			f.until("an error", isError)
			accessor, secret := newToken(t, agent, "rotated-"+test.name, readUsers)
			set(secret)
			f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
			_, second := newToken(t, agent, "again-"+test.name, readUsers)
			set(second)
			if _, err := agent.Client.ACL().TokenDelete(accessor, nil); err != nil {
				t.Fatal(err)
			}
			extra := instance("u2", 81)
			register(t, agent, extra)
			f.until("both instances", func(e event) bool { return e.has("10.0.0.1:80", "10.0.0.1:81") })
			deregister(t, agent, "u2")
		})
	}
}

func writer(t *testing.T, file string) func(string) {
	return func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
