package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What servers executed is counted over all of them, the dead ones included.
func TestExecuted(t *testing.T) {
	f := &fleet{dir: t.TempDir()}
	for name, text := range map[string]string{"executed-users-1": "0-1\n0-2\n", "executed-users-2": "0-2\n3-1\n", "agent.log": "0-1\n"} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.executed()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"0-1": 1, "0-2": 2, "3-1": 1}, got); diff != "" {
		t.Errorf("executed (- want + got):\n%s", diff)
	}
}

// A failure of what is made for tests ends the scenario, and nothing else does.
func TestStage(t *testing.T) {
	fails := func(f func(*stage)) (err error) {
		defer catch(&err)
		on, err := newStage()
		if err != nil {
			return err
		}
		defer on.close()
		f(on)
		return on.err()
	}
	if err := fails(func(*stage) {}); err != nil {
		t.Errorf("error %v, want none", err)
	}
	if err := fails(func(on *stage) { on.Fatalf("no %s", "agent") }); err == nil || err.Error() != "no agent" {
		t.Errorf("error %v, want no agent", err)
	}
	if err := fails(func(on *stage) { on.Errorf("late"); on.Errorf("later") }); err == nil || err.Error() != "late; later" {
		t.Errorf("error %v, want late; later", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a panic of another kind was swallowed")
		}
	}()
	_ = fails(func(*stage) { panic("mistake") })
}
