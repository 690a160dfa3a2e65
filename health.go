package fairlead

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
)

// WithHealthCheck checks the endpoints of the services that are in use, beside
// discovery: one whose checks fail gets no calls, unless fewer than half of the
// endpoints are well. The default is no checks; health.Check{} is a TCP check every
// 5 s. Checks name the service as their host, use the configuration of [WithTLS] and
// the dialer of [WithTransport], and have connections of their own. They are also
// what a breaker does before its probe, in the place of a bare connection, and one
// that passes after many that failed brings that probe on. Calls of HTTP and gRPC
// both go by them, whatever protocol the checks have.
func WithHealthCheck(c health.Check) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := c.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithHealthCheck: %w", err)
		}
		s.check = &c
		return nil
	})
}

// WithOutlierEjection leaves endpoints alone that do worse than their peers, for
// half a minute and more. The default is not to; health.Ejection{} has the defaults
// of its fields. It goes well beside breakers, which act sooner and for seconds.
func WithOutlierEjection(e health.Ejection) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := e.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithOutlierEjection: %w", err)
		}
		s.ejection = &e
		return nil
	})
}

// newHealth makes what advises on the service's endpoints.
func (s *service) newHealth() (err error) {
	if c := s.settings.check; c != nil {
		if s.checker, err = health.NewChecker(*c); err != nil {
			return err
		}
	}
	if e := s.settings.ejection; e != nil {
		s.ejector, err = health.NewEjector(*e, s.logEjection)
	}
	return err
}

// observe is what the balancer tells outcomes to, nil where nobody wants to know.
func (s *service) observe() func(*balancer.Node, balancer.Outcome) {
	if s.ejector == nil {
		return nil
	}
	return func(n *balancer.Node, o balancer.Outcome) { linkOf(n).outlier.Observe(o) }
}

// logEjection is called when a node is ejected, and with 0 when it is let in again.
func (s *service) logEjection(n *balancer.Node, d time.Duration) {
	if d > 0 {
		s.mesh.logger.Warn("fairlead: endpoint ejected", "service", s.name, "endpoint", n.ID(), "addr", n.Addr(), "for", d)
		return
	}
	s.mesh.logger.Info("fairlead: endpoint let in again", "service", s.name, "endpoint", n.ID(), "addr", n.Addr())
}

// watch has the link's endpoint checked, from its joining on. Calling it again does
// nothing.
func (l *link) watch() {
	if l.service.checker == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopChecks == nil && !l.ignored {
		l.stopChecks = l.service.checker.Watch(l.target(), l.checked)
	}
}

// ignore ends what health does with the link's node.
func (l *link) ignore() {
	if l.outlier != nil {
		l.outlier.Remove()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ignored = true
	if l.stopChecks != nil {
		l.stopChecks()
	}
}

// checked is called when the verdict of the active checks changes.
func (l *link) checked(err error) {
	l.node.Advise(balancer.ChecksFail, err != nil)
	s := l.service
	if err != nil {
		s.mesh.logger.Warn("fairlead: health checks fail", "service", s.name, "endpoint", l.node.ID(), "addr", l.node.Addr(), "error", err)
		return
	}
	s.mesh.logger.Info("fairlead: health checks pass", "service", s.name, "endpoint", l.node.ID(), "addr", l.node.Addr())
	if l.breaker != nil {
		l.breaker.Recheck()
	}
}

func (l *link) target() health.Target {
	t := health.Target{Addr: l.node.Addr(), Host: l.service.name, TLS: l.checkTLS}
	if l.service.settings.endpointTransport == nil {
		t.Dial = l.dialCheck
	}
	return t
}

// checkTLS returns what checks are encrypted with, nil where calls are not, or it
// is not known yet whether they are.
func (l *link) checkTLS() *tls.Config {
	s := l.service
	switch {
	case s.tlsAddr.Load() == nil && !s.settings.check.TLS:
		return nil
	case s.tls != nil:
		return s.tls
	}
	return &tls.Config{}
}

// dialCheck dials as calls do, wherever the check goes.
func (l *link) dialCheck(ctx context.Context, network, addr string) (net.Conn, error) {
	l.making.Lock()
	p := l.makePinned()
	l.making.Unlock()
	ctx, cancel := l.service.joined(ctx)
	defer cancel()
	conn, err := p.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return l.service.mesh.conns.track(conn, l), nil
}
