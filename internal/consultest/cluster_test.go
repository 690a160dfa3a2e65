package consultest_test

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

func put(t *testing.T, agent *consultest.Agent, value string) {
	t.Helper()
	if _, err := agent.Client.KV().Put(&api.KVPair{Key: "k", Value: []byte(value)}, nil); err != nil {
		t.Fatal(err)
	}
}

// get returns the value under k, or "".
func get(t *testing.T, agent *consultest.Agent) string {
	t.Helper()
	pair, _, err := agent.Client.KV().Get("k", nil)
	if err != nil {
		t.Fatal(err)
	}
	if pair == nil {
		return ""
	}
	return string(pair.Value)
}

func TestCluster(t *testing.T) {
	began := time.Now()
	cluster := consultest.StartCluster(t)
	t.Logf("a cluster is ready after %v", time.Since(began))
	put(t, cluster.Agent, "1")
	first := cluster.Leader()
	began = time.Now()
	first.Kill()
	second := cluster.Leader()
	t.Logf("there is another leader after %v", time.Since(began))
	if second == first || len(cluster.Followers()) != 1 {
		t.Errorf("the dead leader is the leader still, or %d followers, want 1", len(cluster.Followers()))
	}
	first.Wipe()
	first.Restart()
	if got := get(t, first); got != "1" {
		t.Errorf("a wiped server that came back has %q, want 1", got)
	}
	for _, server := range cluster.Servers {
		server.Kill()
	}
	for _, server := range cluster.Servers {
		server.Begin()
	}
	cluster.Leader()
	cluster.Agent.Restart()
	if got := get(t, cluster.Agent); got != "1" {
		t.Errorf("after a restart of all: %q, want 1", got)
	}
}

func TestState(t *testing.T) {
	agent := consultest.Start(t, consultest.WithState())
	put(t, agent, "1")
	agent.Restart()
	if got := get(t, agent); got != "1" {
		t.Errorf("after a restart: %q, want 1", got)
	}
	agent.Wipe()
	agent.Restart()
	if got := get(t, agent); got != "" {
		t.Errorf("after a wipe: %q, want nothing", got)
	}
}

func TestSnapshot(t *testing.T) {
	agent := consultest.Start(t)
	put(t, agent, "1")
	saved := agent.Save()
	put(t, agent, "2")
	agent.Restore(saved)
	if got := get(t, agent); got != "1" {
		t.Errorf("after a restore: %q, want 1", got)
	}
}

func TestJoinWAN(t *testing.T) {
	here := consultest.Start(t, consultest.WithDatacenter("dc1"))
	there := consultest.Start(t, consultest.WithDatacenter("dc2"))
	here.JoinWAN(there, "dc2")
	there.AwaitDatacenter("dc1")
}

func TestTLS(t *testing.T) {
	agent := consultest.Start(t, consultest.WithTLS())
	transport := &http.Transport{TLSClientConfig: agent.TLS(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + agent.SecureAddr() + "/v1/status/leader")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("got %s, %s, want HTTP/2 and 200", resp.Proto, resp.Status)
	}
	if _, err := tls.Dial("tcp", agent.SecureAddr(), nil); err == nil {
		t.Error("a client that does not know the certificate trusts the agent")
	}
}

func TestUsage(t *testing.T) {
	agent := consultest.Start(t)
	if agent.CPUTime() == 0 {
		t.Error("an agent that started used no CPU time")
	}
	put(t, agent, "1")
	if n := agent.Connections(); n != 1 {
		t.Errorf("%d connections, want the test's own", n)
	}
}
