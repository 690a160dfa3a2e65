package balancer

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// turns hands out turns in order. While cores contend for the next one, each takes
// several at once and keeps them for itself: a counter that two cores write all the
// time costs each of them more than the rest of a pick. As soon as a core finds
// itself alone, the order is exact again.
type turns struct {
	// A cache line of its own: with what it indexes on the same line it would cost
	// twice.
	_    [64]byte
	next atomic.Uint64
	_    [56]byte

	contended atomic.Bool
	batches   sync.Pool // of *batch: one for each core
}

// batch is what is left of the turns that a core took at once.
type batch struct {
	next, end uint64
	_         [112]byte // no other core's on the same cache line, nor on its neighbour
}

// randomize gives the turns a random start, so that clients which began together
// do not march in step.
func (t *turns) randomize() { t.next.Store(uint64(rand.Uint32())) }

// take returns the next turn.
func (t *turns) take() uint64 {
	if !t.contended.Load() {
		// A swap, because it fails where two cores contend, and because the processor
		// works on with what the load gave while the swap is under way.
		turn := t.next.Load()
		if t.next.CompareAndSwap(turn, turn+1) {
			return turn
		}
		t.contended.Store(true)
	}
	return t.takeOfBatch()
}

func (t *turns) takeOfBatch() uint64 {
	b, _ := t.batches.Get().(*batch)
	if b == nil {
		// The core's first, or the garbage collector took the one it had. To go on with
		// new batches would give away most turns where calls are rarer than collections:
		// whether cores still contend is found out anew.
		t.contended.Store(false)
		turn := t.next.Add(1) - 1
		t.batches.Put(&batch{next: turn + 1, end: turn + 1})
		return turn
	}
	if b.next == b.end && !t.refill(b) {
		t.batches.Put(b)
		return t.next.Add(1) - 1
	}
	turn := b.next
	b.next++
	t.batches.Put(b)
	return turn
}

// refill takes a batch of turns, unless no other core took any since the last.
func (t *turns) refill(b *batch) bool {
	if t.next.Load() == b.end {
		t.contended.Store(false)
		return false
	}
	b.end = t.next.Add(batchTurns)
	b.next = b.end - batchTurns
	return true
}
