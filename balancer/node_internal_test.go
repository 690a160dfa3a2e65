package balancer

import (
	"testing"
	"unsafe"

	"github.com/fairlead-go/fairlead/discovery"
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

// The way of a call without gates does not leave that line: here there is nothing beyond.
func TestBareCallLooksAtOneLine(t *testing.T) {
	for _, policy := range []Policy{RoundRobin(), WeightedRoundRobin(), Random(), P2C(), LeastConn(), PeakEWMA()} {
		t.Run(policy.Name(), func(t *testing.T) {
			b := New(Config{Policy: policy})
			if err := b.Update([]discovery.Endpoint{{Addr: "a:80"}, {Addr: "b:80"}, {Addr: "c:80"}}); err != nil {
				t.Fatal(err)
			}
			nodes := b.Nodes()
			for _, n := range nodes {
				n.member = nil
			}
			for range 100 {
				l, err := b.Pick(&Info{})
				if err != nil {
					t.Fatal(err)
				}
				l.Report(Outcome{Verdict: Success})
				l.Release()
			}
			for _, n := range nodes {
				if n.InFlight() != 0 || n.Picks() == 0 {
					t.Errorf("%d in flight after %d picks", n.InFlight(), n.Picks())
				}
			}
		})
	}
}
