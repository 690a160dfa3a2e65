package fairlead

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	dialTimeout     = 3 * time.Second  // for TCP, and again for TLS
	idleConnTimeout = 90 * time.Second // as http.DefaultTransport
	idlePerEndpoint = 100
	pingAfter       = 10 * time.Second // of silence on an HTTP/2 connection
	pingTimeout     = 5 * time.Second
	continueTimeout = time.Second // as http.DefaultTransport
	keepAlive       = 15 * time.Second
)

// pinned is an endpoint's own transport: it dials that endpoint whatever the
// URL says, so that the URL, the Host header and the TLS name stay the service's.
// It uses no proxy.
type pinned struct {
	*http.Transport
	link  *link
	http2 bool // negotiated by TLS
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

func newPinned(l *link) *pinned {
	s := l.service
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	t := &http.Transport{
		DialContext:           dialer.DialContext,
		TLSClientConfig:       s.tls,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   idlePerEndpoint,
		IdleConnTimeout:       idleConnTimeout,
		ExpectContinueTimeout: continueTimeout,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	for _, adjust := range s.settings.adjust {
		adjust(t)
	}
	t.Proxy = nil
	p := &pinned{Transport: t, link: l, dial: t.DialContext}
	// An empty TLSNextProto is how HTTP/2 was switched off before Protocols;
	// net/http fills it later.
	_, wanted := t.TLSNextProto["h2"]
	p.http2 = t.ForceAttemptHTTP2 && (t.TLSNextProto == nil || wanted) && !strings.Contains(os.Getenv("GODEBUG"), "http2client=0")
	if p.dial == nil {
		p.dial = dialer.DialContext
	}
	t.DialContext = p.dialTCP
	if t.DialTLSContext == nil {
		t.DialTLSContext = p.dialTLS
	} else {
		p.adoptDialTLS(t.DialTLSContext)
	}
	return p
}

// adoptDialTLS pins a TLS dialer that the user brought.
func (p *pinned) adoptDialTLS(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	p.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		ctx, cancel := p.link.service.joined(ctx)
		defer cancel()
		conn, err := dial(ctx, network, p.link.node.Addr())
		if err != nil {
			return nil, &dialError{addr: p.link.node.Addr(), err: err}
		}
		return conn, nil
	}
}

func (p *pinned) dialTCP(ctx context.Context, network, _ string) (net.Conn, error) {
	addr := p.link.node.Addr()
	ctx, cancel := p.link.service.joined(ctx)
	defer cancel()
	conn, err := p.dial(ctx, network, addr)
	if err != nil {
		return nil, &dialError{addr: addr, err: err}
	}
	return p.link.service.mesh.conns.track(conn, p.link), nil
}

// dialTLS makes the handshake too, so that its failure is known to have sent
// nothing.
func (p *pinned) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := p.dialTCP(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := p.link.service.joined(ctx)
	defer cancel()
	ctx, timeout := context.WithTimeout(ctx, cmp.Or(p.TLSHandshakeTimeout, dialTimeout))
	defer timeout()
	conn := tls.Client(raw, p.tlsConfig(addr))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &dialError{addr: p.link.node.Addr(), err: err}
	}
	return conn, nil
}

// tlsConfig is that of the transport, with the name of the URL's host and the
// protocols that the transport speaks.
func (p *pinned) tlsConfig(addr string) *tls.Config {
	config := &tls.Config{}
	if p.TLSClientConfig != nil {
		config = p.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	http1, http2 := true, p.http2
	if p.Protocols != nil {
		http1, http2 = p.Protocols.HTTP1(), p.Protocols.HTTP2()
	}
	config.NextProtos = config.NextProtos[:0:0]
	if http2 {
		config.NextProtos = append(config.NextProtos, "h2")
	}
	if http1 {
		config.NextProtos = append(config.NextProtos, "http/1.1")
	}
	return config
}

// check finds out whether the endpoint takes connections: TCP, and TLS where
// its service is called by https. tlsAddr is the host and port of such a URL.
func (p *pinned) check(ctx context.Context, tlsAddr string) error {
	var conn net.Conn
	var err error
	if tlsAddr != "" {
		conn, err = p.DialTLSContext(ctx, "tcp", tlsAddr)
	} else {
		conn, err = p.dialTCP(ctx, "tcp", "")
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// connections are the open connections of a Mesh that it dialled itself, for
// Close to cut and for the bound on idle ones.
type connections struct {
	maxIdle int
	mu      sync.Mutex
	open    map[*connection]struct{} // nil after closeAll; guarded by mu
	closed  bool                     // guarded by mu
	sweeper *time.Timer              // nil while few are open; guarded by mu
	sweeps  uint64                   // so far; guarded by mu
}

func (c *connections) track(conn net.Conn, l *link) net.Conn {
	tracked := &connection{Conn: conn, all: c, link: l}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return tracked
	}
	if c.open == nil {
		c.open = make(map[*connection]struct{})
	}
	c.open[tracked] = struct{}{}
	c.watchIdleLocked()
	return tracked
}

func (c *connections) closeAll() {
	c.mu.Lock()
	open := c.open
	c.open, c.closed = nil, true
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
	c.mu.Unlock()
	for conn := range open {
		conn.Conn.Close()
	}
}

type connection struct {
	net.Conn
	all  *connections
	link *link
}

func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// ReadFrom lets the connection use what its system has for copying files.
func (c *connection) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }
