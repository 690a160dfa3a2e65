package fairlead

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/internal/monotime"
)

const (
	probeFirst = time.Second
	probeMax   = 10 * time.Second

	closeAgain = time.Second // after an endpoint's last call
)

// link is what the Mesh keeps with each node: its breaker and, from the first
// pick on, its transport.
type link struct {
	service *service
	node    *balancer.Node
	breaker *breaker.Breaker // nil without breakers

	outlier *health.Outlier // nil without ejection

	ready  atomic.Pointer[roundTripper] // nil until made
	slow   atomic.Int32                 // probes in a row that were late
	making sync.Mutex                   // one transport is made at a time; the user's functions run under it
	mu     sync.Mutex
	pinned *pinned           // nil until made, and with WithEndpointTransport; guarded by mu
	custom http.RoundTripper // of WithEndpointTransport; guarded by mu
	left   bool              // guarded by mu
	use    use               // guarded by connections.mu

	stopChecks func() // nil while there are no active checks; guarded by mu
	ignored    bool   // there will be none any more; guarded by mu
}

// roundTripper is a pointer's worth of http.RoundTripper.
type roundTripper struct{ http.RoundTripper }

// newLink is called when a node joins.
func (s *service) newLink(n *balancer.Node) (data any, gates []balancer.Gate) {
	l := &link{service: s, node: n}
	if s.ejector != nil {
		l.outlier = s.ejector.Add(n)
	}
	if s.breakers == nil {
		return l, nil
	}
	g := &gate{}
	hooks := breaker.Hooks{Changed: func(from, to breaker.State) {
		l.log(from, to)
		g.changed()
	}}
	if s.settings.endpointTransport == nil || s.checker != nil {
		hooks.Check = l.check
	}
	l.breaker = s.breakers.Add(hooks)
	l.breaker.SetDraining(n.Endpoint().Drain)
	g.Breaker = l.breaker
	return l, []balancer.Gate{g}
}

func linkOf(n *balancer.Node) *link { return n.Data().(*link) }

// makeReady makes the link's transport, at the first pick.
func (l *link) makeReady() (*roundTripper, error) {
	l.making.Lock()
	defer l.making.Unlock()
	if rt := l.ready.Load(); rt != nil {
		return rt, nil
	}
	rt, err := l.makeTransport()
	if err != nil {
		return nil, err
	}
	for i := len(l.service.settings.attemptMiddleware) - 1; i >= 0; i-- {
		if rt = l.service.settings.attemptMiddleware[i](rt); isNil(rt) {
			return nil, fmt.Errorf("fairlead: WithAttemptMiddleware: middleware %d returned nil, want a RoundTripper", i)
		}
	}
	made := &roundTripper{rt}
	l.ready.Store(made)
	return made, nil
}

// makeTransport is called with making held.
func (l *link) makeTransport() (http.RoundTripper, error) {
	s := l.service
	if s.settings.endpointTransport == nil {
		return l.makePinned(), nil
	}
	rt, err := s.settings.endpointTransport(s.name, l.node.Endpoint())
	if err != nil {
		return nil, &dialError{addr: l.node.Addr(), err: err}
	}
	if isNil(rt) {
		return nil, fmt.Errorf("fairlead: WithEndpointTransport: the function returned neither transport nor error for endpoint %q of service %q", l.node.ID(), s.name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.custom = rt
	return rt, nil
}

// makePinned returns the pinned transport, which it makes the first time. It is
// called with making held.
func (l *link) makePinned() *pinned {
	l.mu.Lock()
	p := l.pinned
	l.mu.Unlock()
	if p != nil {
		return p
	}
	p = newPinned(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned = p
	return p
}

// probeTimeout is how soon a probe that can be retried elsewhere must have its
// headers: a second, doubling while probes are late, so that an endpoint which is
// slow by nature gets back.
func (l *link) probeTimeout() time.Duration {
	return min(probeFirst<<min(l.slow.Load(), 10), probeMax)
}

func (l *link) probed(answered, late bool) {
	switch {
	case answered:
		l.slow.Store(0)
	case late:
		l.slow.Add(1)
	}
}

// check is what a breaker does before it lets a live call probe. The probe is to go
// over a new connection: one of before may be dead although it is open.
func (l *link) check(ctx context.Context) error {
	l.mu.Lock()
	own := l.pinned
	l.mu.Unlock()
	if own != nil { // one of the user's may be shared by others
		own.CloseIdleConnections()
	}
	if c := l.service.checker; c != nil {
		return c.Check(ctx, l.target())
	}
	l.making.Lock()
	p := l.makePinned()
	l.making.Unlock()
	var tlsAddr string
	if addr := l.service.tlsAddr.Load(); addr != nil {
		tlsAddr = *addr
	}
	return p.check(ctx, tlsAddr)
}

// closeIdle closes the connections that no call uses.
func (l *link) closeIdle() {
	l.mu.Lock()
	p, custom := l.pinned, l.custom
	l.mu.Unlock()
	if p != nil {
		p.CloseIdleConnections()
	}
	if c, ok := custom.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// leave is called when the node is no longer a member, and again when its last
// call has ended.
func (l *link) leave() {
	l.ignore()
	if l.breaker != nil {
		l.closeBreaker()
	}
	if l.node.InFlight() > 0 && !l.service.mesh.closed.Load() {
		return // its connection may be wanted the next moment
	}
	l.closeIdle()
	// HTTP/2 forgets a stream a moment after its end: its connection is idle then.
	time.AfterFunc(closeAgain, l.closeIdle)
	l.mu.Lock()
	c, again := l.custom, l.left
	l.left = true
	l.mu.Unlock()
	if closer, ok := c.(io.Closer); ok && !again {
		closer.Close()
	}
}

// closeBreaker does not wait for a check under way: this may be the goroutine of
// a call, or of the watch.
func (l *link) closeBreaker() {
	if l.breaker.State() == breaker.Closed || !l.service.mesh.spawn(l.breaker.Close) {
		l.breaker.Close()
	}
}

func (l *link) log(from, to breaker.State) {
	level := slog.LevelInfo
	if to == breaker.Open {
		level = slog.LevelWarn
	}
	l.service.mesh.logger.Log(context.Background(), level, "fairlead: breaker "+to.String(),
		"service", l.service.name, "endpoint", l.node.ID(), "addr", l.node.Addr(), "from", from.String(), "to", to.String())
}

// gate is a breaker as the balancer knows gates.
type gate struct {
	*breaker.Breaker
	notify atomic.Pointer[func()]
}

var (
	_ balancer.StatefulGate = (*gate)(nil)
	_ balancer.TimedGate    = (*gate)(nil)
	_ balancer.EndWatcher   = (*gate)(nil)
	_ balancer.Hastener     = (*gate)(nil)
)

func (g *gate) State() balancer.GateState {
	switch g.Breaker.State() {
	case breaker.Open:
		return balancer.Refusing
	case breaker.HalfOpen:
		return balancer.Probing
	}
	return balancer.Admitting
}

// TimedDone has the breaker count by the clock that the balancer has read.
func (g *gate) TimedDone(token any, v balancer.Verdict, now monotime.Time) { g.DoneAt(token, v, now) }

func (g *gate) Notify(changed func()) { g.notify.Store(&changed) }

func (g *gate) changed() {
	if f := g.notify.Load(); f != nil {
		(*f)()
	}
}
