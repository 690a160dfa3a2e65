package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if becomeChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// The scenarios are valid, and told apart by name.
func TestTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range append(table(), soak(1, longSoak)) {
		if err := s.validate(); err != nil {
			t.Error(err)
		}
		if seen[s.Name] {
			t.Errorf("two scenarios are named %q", s.Name)
		}
		seen[s.Name] = true
	}
}

func TestChosen(t *testing.T) {
	if some, err := chosen(1, "^1 of 3: 503 fast$", 0); err != nil || len(some) != 1 {
		t.Errorf("chosen %d scenarios, error %v, want one", len(some), err)
	}
	for _, pattern := range []string{"(", "no such scenario"} {
		if _, err := chosen(1, pattern, 0); err == nil {
			t.Errorf("-run %q is no error", pattern)
		}
	}
	if _, err := chosen(1, "", 3*maxLength); err == nil {
		t.Error("an endless soak is no error")
	}
}

// TestSmoke runs a small scenario with everything real. Nothing that depends on
// the machine's speed is bounded.
func TestSmoke(t *testing.T) {
	if os.Getenv("FAIRLEAD_CONSUL") == "" && os.Getenv("FAIRLEAD_NO_SKIP") != "1" {
		if _, err := os.Stat("../../.bin/consul"); err != nil {
			t.Skip("no Consul binary: run `make consul`")
		}
	}
	s := Scenario{
		Name: "smoke", Servers: 3, Proxied: true,
		Load: Load{Callers: 8, Rate: 80, Timeout: 20 * second, Posts: 0.2, RPCs: 0.1},
		Mesh: Mesh{Guard: breakers, AttemptTimeout: 5 * second},
		Steps: []Step{
			{second / 2, resets, []int{0}}, {3 * second / 2, healed, []int{0}},
			{2 * second, sigkill, []int{1}}, {3 * second, healed, []int{1}},
		},
		Length: 4 * second,
		Bounds: []Bound{noErrors(get), notTwice()},
	}
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	r, err := run(&s, 1)
	if err != nil {
		t.Fatal(err)
	}
	var out reportText
	if !report(&out, r, s.Length) {
		t.Errorf("a bound does not hold:\n%s", out)
	}
	methods := make(map[method]int)
	for _, rec := range r.Records {
		methods[rec.method]++
	}
	if r.Counts.Requests == 0 || methods[get] == 0 || methods[post] == 0 || methods[rpc] == 0 {
		t.Errorf("calls by method: %v, at the servers %d, want some of each", methods, r.Counts.Requests)
	}
}

type reportText []byte

func (t *reportText) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	return len(p), nil
}
