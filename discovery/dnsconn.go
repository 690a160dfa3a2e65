package discovery

import (
	"context"
	"net"
)

// interruptible returns a copy of r whose connections are closed when the
// context of their look-up ends. Go's resolver itself heeds only a deadline
// while it waits for an answer: a watch that has ended would leave a socket and
// a goroutine behind, for the 5 s that a name server has.
//
// StrictErrors keeps a search list from going on past a name server that fails,
// to a name that nobody meant.
func interruptible(r *net.Resolver) *net.Resolver {
	if r == nil {
		r = net.DefaultResolver
	}
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &net.Resolver{
		PreferGo:     r.PreferGo,
		StrictErrors: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newDNSConn(ctx, conn), nil
		},
	}
}

// dnsConn is a connection that is closed once: by its user, or when a context
// ends.
type dnsConn struct {
	net.Conn
	stop func() bool
}

// dnsPacketConn is one that net.Resolver takes for a datagram socket.
type dnsPacketConn struct {
	dnsConn
	net.PacketConn
}

func newDNSConn(ctx context.Context, conn net.Conn) net.Conn {
	c := dnsConn{Conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if packets, ok := conn.(net.PacketConn); ok {
		return dnsPacketConn{c, packets}
	}
	return c
}

func (c dnsConn) Close() error {
	if !c.stop() {
		return net.ErrClosed
	}
	return c.Conn.Close()
}

func (c dnsPacketConn) Close() error { return c.dnsConn.Close() }
