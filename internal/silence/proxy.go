// Package silence has a TCP proxy for tests, whose connections can fall silent
// without being closed, as those of a host that lost its power or of a firewall
// that lost its memory do.
package silence

import (
	"net"
	"sync"
	"sync/atomic"
)

// Proxy forwards connections to a server.
type Proxy struct {
	listener net.Listener
	target   string
	accepted atomic.Int64
	running  sync.WaitGroup

	mu     sync.Mutex
	silent chan struct{}     // closed when the connections of before fall silent; replaced then; guarded by mu
	open   map[net.Conn]bool // guarded by mu
	closed bool              // guarded by mu
	mute   bool              // new connections are silent too; guarded by mu
}

// Listen returns a Proxy for the server at target, on a port of its own.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, silent: make(chan struct{}), open: make(map[net.Conn]bool)}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns where the Proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted returns how many connections there were so far.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Silence has all connections that are open forward nothing any more. New ones are
// as good as ever.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.silent)
	p.silent = make(chan struct{})
}

// Mute has all connections that come be silent from the first.
func (p *Proxy) Mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// Close closes all and waits.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.open {
		conn.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		silent := p.silent
		if p.mute {
			silent = make(chan struct{})
			close(silent)
		}
		if p.closed {
			near.Close()
			far.Close()
		}
		p.open[near], p.open[far] = true, true
		p.mu.Unlock()
		p.running.Go(func() { p.forward(near, far, silent) })
		p.running.Go(func() { p.forward(far, near, silent) })
	}
}

// forward copies until one side closes; while silent it reads on and drops what it reads.
func (p *Proxy) forward(from, to net.Conn, silent <-chan struct{}) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, from)
		delete(p.open, to)
		from.Close()
		to.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-silent:
			if err != nil {
				return
			}
			continue
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
