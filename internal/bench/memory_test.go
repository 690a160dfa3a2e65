package main

import "testing"

// Everything that is weighed can be held, with connections to all endpoints where
// there are sockets, and ends.
func TestMemory(t *testing.T) {
	const n = 20
	web, rpc := ported(t, httpRole, n), ported(t, grpcRole, n)
	for _, w := range weighedAll(web.addrs, rpc.addrs) {
		row, err := w.row(n)
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		if len(row) != 6 {
			t.Errorf("the line is %q", row)
		}
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
