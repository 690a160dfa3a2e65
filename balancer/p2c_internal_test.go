package balancer

import (
	"testing"

	"github.com/fairlead-go/fairlead/discovery"
)

// A node's picks are counted modulo 2³². Where one wraps, it must not win all
// ties until it has caught up with the others, years later.
func TestP2CSurvivesTheWrapOfItsCounts(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	err := b.Update([]discovery.Endpoint{{ID: "a", Addr: "a:1", Weight: 10}, {ID: "b", Addr: "b:1", Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	nodes := b.Nodes()
	nodes[0].counts.Store((1<<32 - 50) << 32)
	nodes[1].counts.Store((1<<32 - 50) / 10 << 32)
	picks := map[string]int{}
	for range 1100 {
		l, err := b.Pick(&Info{})
		if err != nil {
			t.Fatal(err)
		}
		picks[l.Node().ID()]++
		l.Release()
	}
	if picks["b"] < 90 || picks["b"] > 110 {
		t.Errorf("%v, want about 1000 of a and 100 of b", picks)
	}
}
