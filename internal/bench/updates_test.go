package main

import (
	"errors"
	"strings"
	"testing"

	lb "google.golang.org/grpc/balancer"
)

func TestUpdates(t *testing.T) {
	for _, c := range changes() {
		runs(t, c.contest(10))
		runs(t, c.contest(100))
	}
}

// After a change the picks go where they should: to what is new, not to what has left
// or is not ready; and back.
func TestUpdatesTakeEffect(t *testing.T) {
	const n = 10
	from := addresses(n)
	for _, c := range changes() {
		to := from
		if c.to != nil {
			to = c.to(from)
		}
		for _, u := range c.updaters {
			t.Run(c.title+"/"+u.name, func(t *testing.T) {
				turner, err := u.start(from, to)
				if err != nil {
					t.Fatal(err)
				}
				if turner.stop != nil {
					defer turner.stop()
				}
				ring := strings.Contains(u.name, "ring_hash")
				for range 2 {
					turn(t, turner, true)
					want := to
					if c.to == nil {
						want = append(append([]string{}, from[:n/2]...), from[n/2+1:]...)
					}
					pickedAll(t, turner, ring, want)
					turn(t, turner, false)
					pickedAll(t, turner, ring, from)
				}
			})
		}
	}
}

func turn(t *testing.T, turner *turner, forth bool) {
	t.Helper()
	if err := turner.turn(forth); err != nil {
		t.Fatal(err)
	}
}

// pickedAll fails if the picks meet others than these, or not all of them. Those of a
// peer's ring have one key, and meet one.
func pickedAll(t *testing.T, turner *turner, ring bool, want []string) {
	t.Helper()
	expected := make(map[string]bool)
	for _, addr := range want {
		expected[addr] = true
	}
	seen := make(map[string]bool)
	for range 2000 {
		addr, err := turner.where()
		if ring && errors.Is(err, lb.ErrNoSubConnAvailable) {
			return // ring_hash connects when it is asked
		}
		if err != nil {
			t.Fatal(err)
		}
		if !expected[addr] {
			t.Fatalf("%q was picked, want one of %q", addr, want)
		}
		if seen[addr] = true; len(seen) == len(expected) {
			return
		}
	}
	if !ring || len(seen) > 1 {
		t.Errorf("picked were %d endpoints, want %d", len(seen), len(expected))
	}
}
