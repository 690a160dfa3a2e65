package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun plays the whole outage with a small load. That no call failed, and
// that each policy calls the revived server, is what run itself checks.
func TestRun(t *testing.T) {
	cfg := defaults()
	cfg.callers, cfg.pause = 6, 5*time.Millisecond
	cfg.before, cfg.down, cfg.after = 300*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond

	var out strings.Builder
	if err := run(&out, cfg); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, policy := range []string{"round_robin", "weighted_round_robin", "least_conn", "ip_hash", "random", "p2c"} {
		if !strings.Contains(out.String(), "\n"+policy+": ") {
			t.Errorf("the report does not mention %s", policy)
		}
	}
	for _, text := range []string{" 0 errors, ", "breaker open", "breaker closed", "while 2ms was down"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the report does not say %q", text)
		}
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 100 {
			t.Errorf("a line has %d columns, want at most 100:\n%s", n, line)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestAFailedCallIsAnError(t *testing.T) {
	var out strings.Builder
	broken := errors.New("broken")
	err := report{
		w:        &out,
		outage:   outage{victim: &server{}},
		calls:    map[string][]call{"p2c": {{}, {err: broken}}},
		journal:  &journal{},
		attempts: newAttempts(),
	}.print()
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "p2c") {
		t.Errorf("error %v, want one that names the service and the cause", err)
	}
	if !strings.Contains(out.String(), "p2c: 2 calls, 1 errors") {
		t.Errorf("the report does not tell of the error:\n%s", out.String())
	}
}
