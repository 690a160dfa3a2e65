package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { // this is a server of the play
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestPlay lets real processes register with a real agent and call each other.
// That no call failed is what play itself checks.
func TestPlay(t *testing.T) {
	agent := consultest.Start(t)
	t.Setenv("CONSUL_HTTP_ADDR", agent.Addr)
	var out strings.Builder
	if err := run(t.Context(), &out, nil); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rest := out.String()
	for _, text := range []string{
		"orders-3 started", "called after", "orders-1 left (SIGTERM)", "ended after", "users-1 killed", "users-1 started again", "orders-1 started again", " 0 errors",
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
	go func() { ended <- run(ctx, &out, []string{"users"}) }()
	known := func() int {
		services, err := agent.Client.Agent().Services()
		if err != nil {
			t.Fatal(err)
		}
		return len(services)
	}
	for deadline := time.Now().Add(10 * time.Second); known() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the server does not register")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := known(); n != 0 {
		t.Errorf("%d services are left behind, want none", n)
	}
	if !strings.Contains(out.String(), "listens at 127.0.0.1:") {
		t.Errorf("it says %q", out.String())
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"nobody"}, {"users", "1", "2"}} {
		if err := run(t.Context(), &strings.Builder{}, args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
