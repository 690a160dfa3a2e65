package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

func TestMain(m *testing.M) {
	if isServer() {
		serve()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// TestRun makes every change with a real agent and real processes. That each
// reached the callers, and that no call failed, is what run itself checks.
func TestRun(t *testing.T) {
	agent := consultest.Start(t)
	cfg := defaults()
	cfg.address, cfg.pause, cfg.watch = agent.Addr, 5*time.Millisecond, 100*time.Millisecond

	var out strings.Builder
	if err := run(t.Context(), &out, cfg); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rest := out.String()
	for _, text := range []string{
		"users-3 registered", "users-3 weight 1 to 4", "users-2 to maintenance", "users-2 end of maintenance",
		"users-1 killed", "kept off", "out of the set", "users-1 revived", "users-3 deregistered", " 0 errors",
	} {
		var found bool
		if _, rest, found = strings.Cut(rest, text); !found {
			t.Fatalf("the output does not say %q where it is due:\n%s", text, out.String())
		}
	}
	services, err := agent.Client.Agent().Services()
	if err != nil || len(services) != 0 {
		t.Errorf("%d services are left behind (%v), want none", len(services), err)
	}
}
