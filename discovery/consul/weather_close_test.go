package consul_test

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestEnd ends watches in every state that one can be in, by their context and
// by Close: each within a second. (TestCloseInsideQuery has real agents.)
func TestEnd(t *testing.T) {
	hang := func(_ int64, _ http.ResponseWriter, r *http.Request) { block(r) }
	waitAfter := func(n int64, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			block(r)
		}
		say(w, "7", one)
	}
	for _, test := range []struct {
		name   string
		config func(t *testing.T) consul.Config
	}{
		{"nobody there", func(t *testing.T) consul.Config {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return consul.Config{Address: l.Addr().String()}
		}},
		{"connection not taken", func(t *testing.T) consul.Config { return consul.Config{Address: deaf(t)} }},
		{"no answer", serveBy(hang)},
		{"waiting query", serveBy(waitAfter)},
		{"answer drips", serveBy(func(_ int64, w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("["))
			_ = http.NewResponseController(w).Flush()
			block(r)
		})},
		{"resting", serveBy(func(_ int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })},
		{"paced", serveBy(func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, "7", one) })},
		{"empty, the leader silent", serveBy(func(_ int64, w http.ResponseWriter, r *http.Request) {
			if asksLeader(r) {
				block(r)
			}
			say(w, "7", "[]")
		})},
		{"asking who it is", serveBy(func(_ int64, w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/acl/token/self" {
				block(r)
			}
			w.Header().Set("X-Consul-Default-Acl-Policy", "deny")
			say(w, "7", "[]")
		})},
	} {
		for how, end := range map[string]func(*consul.Resolver, *follower){
			"context": func(_ *consul.Resolver, f *follower) { f.cancel() },
			"Close":   func(r *consul.Resolver, _ *follower) { _ = r.Close() },
		} {
			t.Run(test.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				resolver := newResolver(t, test.config(t))
				f := follow(t, resolver, "users")
				f.calmOr(300 * time.Millisecond)
				began := time.Now()
				end(resolver, f)
				<-f.ended
				if took := time.Since(began); took > time.Second {
					t.Errorf("ended after %v, want within 1 s", took)
				}
			})
		}
	}
}

func serveBy(serve func(n int64, w http.ResponseWriter, r *http.Request)) func(t *testing.T) consul.Config {
	return func(t *testing.T) consul.Config { return consul.Config{Address: newFake(t, serve).addr} }
}

// calmOr lets d pass, whatever comes.
func (f *follower) calmOr(d time.Duration) {
	for end := time.After(d); ; {
		select {
		case <-f.events:
		case <-end:
			return
		}
	}
}

// deaf listens, and takes no connection once its queue is full.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// TestCloseLeavesNoConnection closes a Resolver while its watches run: soon the
// agent has no connection of it, over HTTPS neither, where one that carried
// waiting queries outlives them.
func TestCloseLeavesNoConnection(t *testing.T) {
	agent := consultest.Start(t, consultest.WithTLS())
	enlist(t, agent, "u1", 80)
	for _, test := range []struct {
		name   string
		config consul.Config
	}{
		{"HTTP", consul.Config{Address: agent.Addr}},
		{"HTTPS", consul.Config{Address: agent.SecureAddr(), TLS: agent.TLS()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			own := agent.Connections()
			resolver := newResolver(t, test.config)
			for range 5 {
				f := follow(t, resolver, "users")
				f.right(soon, "10.0.0.1:80")
				defer func() { <-f.ended }()
			}
			eventually(t, "connection of the watches", func() bool { return agent.Connections() > own })
			t.Logf("5 watches have %d connections", agent.Connections()-own)
			_ = resolver.Close()
			eventually(t, "end of all connections", func() bool { return agent.Connections() <= own })
		})
	}
}
