package consul_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestRevokedToken deletes the token of a waiting query. What Consul answers
// then alternates between 403 and a list that no longer moves. The set is
// kept, with at most 20 queries in 5 s, and right within 32 s after the file
// holds a token that is good.
func TestRevokedToken(t *testing.T) {
	for name, config := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRevokedToken(t, consultest.Start(t, consultest.WithToken(root), consultest.WithConfig(config), consultest.WithConfig(
				`acl { enabled = true, default_policy = "deny", tokens { initial_management = "`+root+`", agent = "`+root+`" } }`)))
		})
	}
}

func testRevokedToken(t *testing.T, agent *consultest.Agent) {
	enlist(t, agent, "u1", 80)
	accessor, secret := newToken(t, agent, "users", readUsers)
	file := filepath.Join(t.TempDir(), "token")
	set := writer(t, file)
	set(secret)
	addr, requests := counter(t, agent)
	f := follow(t, newResolver(t, consul.Config{Address: addr, TokenFile: file, Wait: 2 * time.Second}), "users")
	f.right(soon, "10.0.0.1:80")
	if _, err := agent.Client.ACL().TokenDelete(accessor, nil); err != nil {
		t.Fatal(err)
	}
	before := requests.Load()
	errors := f.calm(5 * time.Second)
	if n := requests.Load() - before; errors == 0 || n > 20 {
		t.Errorf("%d errors and %d queries in 5 s, want some and at most 20", errors, n)
	} else {
		t.Logf("%d errors and %d queries in 5 s", errors, n)
	}
	strike(t, agent, "u1")
	enlist(t, agent, "u2", 81)
	f.calm(time.Second)
	if err := os.Truncate(file, 0); err != nil { // about to be rewritten
		t.Fatal(err)
	}
	f.calm(time.Second)
	token, _, err := agent.Client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "users"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set(token.SecretID)
	f.right(healed, "10.0.0.1:81")
}
