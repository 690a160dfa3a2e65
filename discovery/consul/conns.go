package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
)

// conns are the connections of one Resolver or Registrar. It closes them itself:
// an HTTP/2 connection whose last query was given up becomes idle a little later,
// and http.Transport closes idle ones only. The zero value is empty.
type conns struct {
	most  int    // at a time; 0: as many as are asked for
	ended func() // is called when the other end has ended one unannounced; may be nil
	alone func() // is called when we have ended the last one; may be nil

	mu     sync.Mutex
	open   map[*conn]struct{} // guarded by mu
	closed bool               // guarded by mu
}

// conn is one of them.
type conn struct {
	net.Conn
	owner *conns
	over  bool // its end is no news any more; guarded by owner.mu
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
	n := &conn{Conn: made, owner: c}
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

// none reports whether there is no connection.
func (c *conns) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) == 0
}

// Read notices where the other end has ended the connection.
func (n *conn) Read(p []byte) (int, error) {
	size, err := n.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && n.farewell() && n.owner.ended != nil {
		n.owner.ended()
	}
	return size, err
}

// farewell makes the connection's end no news, and reports whether it was. It is
// none where the connection is closed already.
func (n *conn) farewell() bool {
	c := n.owner
	c.mu.Lock()
	defer c.mu.Unlock()
	_, open := c.open[n]
	news := open && !n.over
	n.over = true
	return news
}

func (n *conn) Close() error {
	c := n.owner
	c.mu.Lock()
	_, open := c.open[n]
	delete(c.open, n)
	last := open && len(c.open) == 0
	c.mu.Unlock()
	err := n.Conn.Close()
	if last && c.alone != nil {
		c.alone()
	}
	return err
}

// announced returns a copy of req for which a function tells that the answer
// announced the end of its connection.
func (c *conns) announced(req *http.Request) (*http.Request, func()) {
	var used net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { used = got.Conn }}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), trace)), func() {
		if t, ok := used.(*tls.Conn); ok {
			used = t.NetConn()
		}
		if n, ok := used.(*conn); ok {
			n.farewell()
		}
	}
}
