package main

import (
	"runtime"
	"testing"
)

// Everything that is weighed can be held, with connections to all endpoints where
// there are sockets, and ends.
func TestMemory(t *testing.T) {
	const n = 20
	web, rpc := ported(t, httpRole, n), ported(t, grpcRole, n)
	for _, w := range weighedAll(web.addrs, rpc.addrs) {
		for i, make := range []hold{w.unused, w.memory, w.sockets, w.perService} {
			if make == nil {
				continue
			}
			end, err := make()
			if err != nil {
				t.Errorf("%s, %d: %v", w.name, i, err)
				continue
			}
			end()
		}
	}
}

// What is held weighs what it takes, and what is left out of a line has a dash.
func TestWeigh(t *testing.T) {
	const n, each = 100, 1 << 15
	w := weighed{name: "slices", memory: func() (func(), error) {
		held := make([][]byte, n)
		for i := range held {
			held[i] = make([]byte, each)
		}
		return func() { runtime.KeepAlive(held) }, nil
	}}
	m, err := weigh(n, w.memory)
	if err != nil || m.heap < 0.9*each || m.heap > 1.2*each {
		t.Errorf("%d bytes weigh %v, error %v", each, m.heap, err)
	}
	row, err := w.row(n)
	if err != nil || len(row) != 6 || row[1] != absent || row[2] == absent || row[4] != absent {
		t.Errorf("the line is %q, error %v", row, err)
	}
}

// ported is a server with n ports that ends with the test.
func ported(t *testing.T, as string, n int) *child {
	t.Helper()
	c, err := startChild(as, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	if len(c.addrs) != n {
		t.Fatalf("the server has %d ports, want %d", len(c.addrs), n)
	}
	return c
}
