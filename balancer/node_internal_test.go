package balancer

import (
	"testing"
	"unsafe"
)

// What a call without gates looks at is one cache line, where Go's allocator puts
// objects of that size so.
func TestNodeIsACacheLine(t *testing.T) {
	const line = 64
	if size := unsafe.Sizeof(Node{}); size > line {
		t.Errorf("a Node has %d bytes, want at most %d", size, line)
	}
	for range 100 {
		nodeSink = new(Node)
		if uintptr(unsafe.Pointer(nodeSink))%line != 0 {
			t.Fatalf("a Node at %p, want one at the beginning of a cache line", nodeSink)
		}
	}
}

var nodeSink *Node
