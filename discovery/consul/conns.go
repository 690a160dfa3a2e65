package consul

import (
	"context"
	"net"
	"sync"
)

// conns are the connections of one Resolver or Registrar. It closes them itself:
// an HTTP/2 connection whose last query was given up becomes idle a little later,
// and http.Transport closes idle ones only. The zero value is empty.
type conns struct {
	most  int    // at a time; 0: as many as are asked for
	ended func() // is called when one has ended, whoever ended it; may be nil

	mu     sync.Mutex
	open   map[*conn]struct{} // guarded by mu
	closed bool               // guarded by mu
}

// conn is one of them.
type conn struct {
	net.Conn
	owner *conns
}

// dialing returns a dial function that takes in what dial makes.
func (c *conns) dialing(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		made, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c.add(made)
	}
}

func (c *conns) add(made net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = made.Close()
		return nil, net.ErrClosed
	}
	if c.open == nil {
		c.open = make(map[*conn]struct{})
	}
	n := &conn{made, c}
	c.open[n] = struct{}{}
	return n, nil
}

// close closes all connections, and each that is made later.
func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.drop()
}

// drop closes the connections that there are.
func (c *conns) drop() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for n := range open {
		_ = n.Conn.Close()
	}
}

func (n *conn) Close() error {
	c := n.owner
	c.mu.Lock()
	_, open := c.open[n]
	delete(c.open, n)
	c.mu.Unlock()
	err := n.Conn.Close()
	if open && c.ended != nil {
		c.ended()
	}
	return err
}
