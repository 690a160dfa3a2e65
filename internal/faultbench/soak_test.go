package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const longSoak = 600 * second

// what is a step as it is compared.
type what struct {
	At, Name any
	On       []int
}

func steps(seed uint64) []what {
	var all []what
	for _, step := range soak(seed, longSoak).Steps {
		all = append(all, what{step.At, step.Do.Name, step.On})
	}
	return all
}

func TestSoakBySeed(t *testing.T) {
	if diff := cmp.Diff(steps(7), steps(7)); diff != "" {
		t.Errorf("the same seed, but (- first + second):\n%s", diff)
	}
	if cmp.Equal(steps(7), steps(8)) {
		t.Error("two seeds make the same soak")
	}
}

// Each server has one fault at a time, which ends; the first has none; and all
// kinds occur.
func TestSoakFaults(t *testing.T) {
	for seed := range uint64(20) {
		sick, names := make(map[int]bool), make(map[string]bool)
		for _, step := range soak(seed, longSoak).Steps {
			names[step.Do.Name] = true
			if step.Do.ofConsul() {
				continue
			}
			slot := step.On[0]
			if slot == 0 {
				t.Fatalf("seed %d: server 0 has a fault at %v", seed, step.At)
			}
			if heals := step.Do.kind == heal; heals != sick[slot] {
				t.Fatalf("seed %d: server %d, sick is %v, has %q at %v", seed, slot, sick[slot], step.Do.Name, step.At)
			}
			sick[slot] = step.Do.kind != heal
		}
		for slot, is := range sick {
			if is {
				t.Errorf("seed %d: server %d does not heal", seed, slot)
			}
		}
		if len(names) != 14 {
			t.Errorf("seed %d: %d kinds of steps, want 14", seed, len(names))
		}
	}
}

func TestDraw(t *testing.T) {
	draws := func(seed uint64) []method {
		random, load := rand.New(rand.NewPCG(seed, 0)), Load{Posts: 0.2, RPCs: 0.1}
		var all []method
		for range 10_000 {
			all = append(all, load.draw(random))
		}
		return all
	}
	if !slices.Equal(draws(1), draws(1)) || slices.Equal(draws(1), draws(2)) {
		t.Error("the draws do not follow their seed")
	}
	counts := make(map[method]int)
	for _, m := range draws(1) {
		counts[m]++
	}
	for m, want := range map[method]int{get: 7000, post: 2000, rpc: 1000} {
		if got := counts[m]; got < want*9/10 || got > want*11/10 {
			t.Errorf("method %d was drawn %d times of 10000, want about %d", m, got, want)
		}
	}
}
