package balancer

import (
	"testing"
	"unsafe"
)

// A Node is as long as objects are that begin with a cache line each, and what a
// call without gates looks at is in its first. The size classes of Go's allocator
// that are whole cache lines are these; from 512 bytes on objects have a header.
func TestNodeKeepsToItsCacheLines(t *testing.T) {
	const line = 64
	switch size := unsafe.Sizeof(Node{}); size {
	case 256, 320, 384, 448, 512:
	default:
		t.Errorf("a Node has %d bytes, want 256, 320, 384, 448 or 512", size)
	}
	if first := unsafe.Offsetof(Node{}.balancer); first != line {
		t.Errorf("what calls without gates look at takes %d bytes, want %d", first, line)
	}
	for range 100 {
		if n := new(Node); uintptr(unsafe.Pointer(n))%line != 0 {
			t.Fatalf("a Node at %p, want one at the beginning of a cache line", n)
		} else {
			nodeSink = n
		}
	}
}

var nodeSink *Node
