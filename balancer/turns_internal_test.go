package balancer

import (
	"runtime"
	"slices"
	"sync"
	"testing"
)

func TestTurnsOfOneCallerAreInOrder(t *testing.T) {
	var s turns
	s.randomize()
	first := s.take()
	for i := range uint64(1000) {
		if got, want := s.take(), first+1+i; got != want {
			t.Fatalf("turn %d, want %d", got, want)
		}
	}
}

func TestTurnsAreTakenOnceWhereCallersContend(t *testing.T) {
	const callers, each = 8, 5000
	var s turns
	taken := make([][]uint64, callers)
	var wg sync.WaitGroup
	for i := range taken {
		wg.Go(func() {
			for range each {
				s.contended.Store(true) // however few cores there are
				taken[i] = append(taken[i], s.take())
			}
		})
	}
	wg.Wait()
	all := slices.Concat(taken...)
	slices.Sort(all)
	if len(slices.Compact(all)) != callers*each {
		t.Error("a turn was taken twice")
	}
}

// Collections that take the batches away take no turns with them.
func TestTurnsAreInOrderThroughCollections(t *testing.T) {
	var s turns
	s.contended.Store(true) // as a burst may leave it
	first := s.take()
	for i := range uint64(20) {
		runtime.GC()
		runtime.GC()
		if got, want := s.take(), first+1+i; got != want {
			t.Fatalf("turn %d, want %d", got, want)
		}
	}
}

// A core that took a batch takes the rest of it, and no other once it is alone.
func TestTurnsAreInOrderAgainOnceACoreIsAlone(t *testing.T) {
	var s turns
	s.contended.Store(true)
	var b batch
	first := uint64(100)
	for range 3 {
		s.next.Store(first) // others took some
		if !s.refill(&b) || b.next != first || b.end != first+batchTurns || !s.contended.Load() {
			t.Fatalf("%+v, want %d turns from %d", b, batchTurns, first)
		}
		b.next = b.end
		first += 50
	}
	alone := b.end
	if s.refill(&b) || s.contended.Load() {
		t.Fatal("it took a batch though nobody else took a turn since the last")
	}
	for i := range uint64(40) {
		if got := s.take(); got != alone+i {
			t.Fatalf("turn %d, want %d", got, alone+i)
		}
	}
}
