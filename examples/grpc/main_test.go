package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { // this is a server of the play
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestPlay lets real processes register with a real agent, and calls them. That
// no call of Name failed is what run itself checks.
func TestPlay(t *testing.T) {
	agent := consultest.Start(t)
	t.Setenv("CONSUL_HTTP_ADDR", agent.Addr)
	var out strings.Builder
	if err := run(t.Context(), &out, nil); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rest := out.String()
	for _, text := range []string{
		"three servers", "called after", "users-1 killed (SIGKILL)", "out of the set after", "users-2 left (SIGTERM)", "ended after",
		"users-1 started again", "called after", "all answers", "Users/Name", " 0 errors", "Users/Visit",
	} {
		var found bool
		if _, rest, found = strings.Cut(rest, text); !found {
			t.Fatalf("the output does not say %q where it is due:\n%s", text, out.String())
		}
	}
}

// TestServe is one server of its own, from its start to its end.
func TestServe(t *testing.T) {
	agent := consultest.Start(t)
	t.Setenv("CONSUL_HTTP_ADDR", agent.Addr)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var out strings.Builder
	go func() { ended <- run(ctx, &out, []string{"serve"}) }()

	// It is registered as passing: the output is what shows that the agent has asked it.
	for deadline := time.Now().Add(20 * time.Second); !asked(t, agent.Client); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the agent does not find the server well")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if services, err := agent.Client.Agent().Services(); err != nil || len(services) != 0 {
		t.Errorf("%d services are left behind (%v), want none", len(services), err)
	}
	if !strings.Contains(out.String(), "listens at 127.0.0.1:") {
		t.Errorf("it says %q", out.String())
	}
}

// asked reports whether the agent's check has asked the server, and found it well.
func asked(t *testing.T, client *api.Client) bool {
	t.Helper()
	checks, err := client.Agent().Checks()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		return c.Type == "grpc" && c.Status == api.HealthPassing && c.Output != ""
	}
	return false
}

func TestReport(t *testing.T) {
	lost, wrong := status.Error(codes.Unavailable, "lost"), status.Error(codes.Internal, "wrong")
	for _, tt := range []struct {
		name   string
		method string
		err    error
		says   string
		fails  bool
	}{
		{"all went well", nameMethod, nil, "Users/Name      1 calls, 0 errors, 0 retries", false},
		{"a lost call of Name", nameMethod, lost, "Users/Name      1 calls, 1 errors, 0 retries", true},
		{"a lost call of Visit", visitMethod, lost, "Users/Visit     1 calls, 1 errors, 0 retries", false},
		{"another error of Visit", visitMethod, wrong, "Users/Visit     1 calls, 1 errors, 0 retries", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &load{calls: make(map[string]int), failed: make(map[string][]error), answered: make(map[string]int)}
			l.count(tt.method, "user 42 is Ada, says users-1", tt.err)
			a := &attempts{}
			a.counter(tt.method).Add(1)
			var out strings.Builder
			if err := l.report(&out, a); (err != nil) != tt.fails {
				t.Errorf("error %v, want one: %v", err, tt.fails)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("it says %q, want %q", out.String(), tt.says)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"nobody"}, {"serve", "1", "2"}} {
		if err := run(t.Context(), &strings.Builder{}, args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
