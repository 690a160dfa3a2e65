package fairlead

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	sweepEvery     = 250 * time.Millisecond // while more connections are open than may be idle
	maxIdleUnknown = 4096                   // a quarter of the ports that Windows dials from
)

// WithMaxIdleConns sets how many connections may be open without a call on
// them, over all services and endpoints of the Mesh. Where there are more, the
// endpoints that were called least recently lose theirs first, soon and without harm to
// calls. An endpoint loses all its idle connections
// or none. The default is a quarter of the file descriptors that the process may
// have when the Mesh is made, at most 1,048,576, and 4096 where the system knows no such limit.
// n must be at least 1; math.MaxInt is no bound. Connections that the user's own
// transports or a DialTLSContext make are not counted, nor are those of gRPC.
func WithMaxIdleConns(n int) Option {
	return meshOption(func(o *options) error {
		if n < 1 {
			return fmt.Errorf("fairlead: WithMaxIdleConns is %d, want at least 1", n)
		}
		o.maxIdle = n
		return nil
	})
}

// use is how recently a link was called, as far as sweeps have seen. Calls leave
// no stamp for it: that would cost each of them.
type use struct {
	picks uint32
	sweep uint64 // the last one that saw other picks than the one before
}

// watchIdleLocked begins to sweep when more connections are open than may be
// idle. What the links were picked until now does not count as use.
func (c *connections) watchIdleLocked() {
	if c.sweeper != nil || len(c.open) <= c.maxIdle {
		return
	}
	for l := range c.idleLocked() {
		l.use.picks = l.node.Picks()
	}
	c.sweeper = time.AfterFunc(sweepEvery, c.sweep)
}

// idleLocked counts each link's connections less its calls. It is exact for
// HTTP/1; HTTP/2 may have a connection idle beside a busy one that is not counted.
func (c *connections) idleLocked() map[*link]int {
	idle := make(map[*link]int)
	for conn := range c.open {
		idle[conn.link]++
	}
	for l, n := range idle {
		idle[l] = max(0, n-l.node.InFlight())
	}
	return idle
}

// sweep closes what is idle beyond the bound. It comes again while it might have
// to: connections become idle without a dial that would tell.
func (c *connections) sweep() {
	for _, l := range c.surplus() {
		l.closeIdle()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if len(c.open) <= c.maxIdle {
		c.sweeper = nil
		return
	}
	c.sweeper.Reset(sweepEvery)
}

// surplus returns the least recently used links without whose idle connections
// the bound is kept.
func (c *connections) surplus() []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps++
	idle, total := c.idleLocked(), 0
	links := make([]*link, 0, len(idle))
	for l, n := range idle {
		if picks := l.node.Picks(); picks != l.use.picks || l.node.InFlight() > 0 {
			l.use = use{picks: picks, sweep: c.sweeps}
		}
		if n > 0 {
			links = append(links, l)
			total += n
		}
	}
	slices.SortFunc(links, func(a, b *link) int {
		return cmp.Or(cmp.Compare(a.use.sweep, b.use.sweep), cmp.Compare(a.service.used(), b.service.used()))
	})
	for i, l := range links {
		if total <= c.maxIdle {
			return links[:i]
		}
		total -= idle[l]
	}
	return links
}
