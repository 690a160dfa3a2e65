package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestPicks(t *testing.T) {
	for _, d := range disciplines() {
		for _, n := range []int{3, 10} {
			for _, cores := range []int{1, runtime.GOMAXPROCS(0)} {
				runs(t, d.contest(n, cores))
			}
		}
	}
}

// Of 100 picks, those that spread go to more than one endpoint, those of one key to
// the same; all go to endpoints that there are.
func TestPicksSpread(t *testing.T) {
	const n = 10
	for _, d := range disciplines() {
		for _, c := range d.choosers {
			t.Run(fmt.Sprintf("%s/%s", d.title, c.name), func(t *testing.T) {
				w, err := c.start(n)
				if err != nil {
					t.Fatal(err)
				}
				if w.stop != nil {
					defer w.stop()
				}
				picked := met(t, w.where, 100)
				if hashes := strings.Contains(d.title, "hash"); hashes != (len(picked) == 1) {
					t.Errorf("picked were %v", picked)
				}
				for addr := range picked {
					if !slices.Contains(addresses(n), addr) {
						t.Errorf("%q was picked", addr)
					}
				}
			})
		}
	}
}

// met are the endpoints of so many picks.
func met(t *testing.T, where func() (string, error), times int) map[string]int {
	t.Helper()
	picked := make(map[string]int)
	for range times {
		addr, err := where()
		if err != nil {
			t.Fatal(err)
		}
		picked[addr]++
	}
	return picked
}

// Who is not started at a size has a dash there, and the text says why.
func TestPicksTableAtMost(t *testing.T) {
	d := discipline{"By a key's hash", []chooser{grpcRingHash, zeroConsistentHash}}
	table, err := d.table(&host{quick, &strings.Builder{}}, 1, []int{10, 101})
	if err != nil {
		t.Fatal(err)
	}
	last := table.rows[len(table.rows)-1]
	if last[0] != zeroConsistentHash.name || last[2] != absent || last[1] == absent {
		t.Errorf("the last line is %q", last)
	}
	if !strings.Contains(table.about, zeroConsistentHash.name) {
		t.Errorf("the text says nothing of it: %s", table.about)
	}
}
