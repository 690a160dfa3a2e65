package health

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Target is one endpoint as a [Checker] sees it.
type Target struct {
	// Addr is where the endpoint listens, as host:port.
	Addr string

	// Host is whom a check is for: the Host header of HTTP, the authority of gRPC
	// and, where TLS has no ServerName, the name that its certificate must have.
	// Empty means Addr.
	Host string

	// TLS returns what checks are encrypted with, nil where they are not. It is
	// asked before each check and must not block; nothing of it is changed. A nil
	// function means never.
	TLS func() *tls.Config

	// Dial makes connections. Nil means a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Checker checks endpoints. It is safe for concurrent use.
type Checker struct{ config Check }

// NewChecker returns a Checker, or an error that names the field, its value and
// what is allowed.
func NewChecker(config Check) (*Checker, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Checker{config}, nil
}

// Check makes one check now, within the configured timeout. It returns nil if the
// target is well, and blocks until then or until ctx ends.
func (c *Checker) Check(ctx context.Context, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	p := &probe{config: &c.config, target: t}
	err := p.run(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// Watch checks a target again and again until stop is called, the first time
// within a second. changed is called when the checks' verdict changes: with the
// last check's error when so many have failed in a row, and with nil when so many
// have passed. Before the first verdict a target is taken to be well. changed
// is called by one goroutine at a time, with no lock held.
//
// Between checks there is a timer and no goroutine. stop cancels the check that is
// under way and does not wait for it, so that changed may be called once more.
func (c *Checker) Watch(t Target, changed func(err error)) (stop func()) {
	w := &watch{checker: c, target: t, changed: changed}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(rand.N(min(c.config.Interval, time.Second)), w.run)
	return w.stop
}

// watch is the checks of one target.
type watch struct {
	checker *Checker
	target  Target
	changed func(error)
	ctx     context.Context
	cancel  context.CancelFunc

	mu    sync.Mutex
	timer *time.Timer // guarded by mu

	// Of the goroutine that runs the check.
	passed   bool // ever
	sick     bool
	inARow   int // checks that speak against the verdict
	lastFail error
}

func (w *watch) stop() {
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// run makes a check and sets the timer for the next.
func (w *watch) run() {
	began := time.Now()
	err := w.checker.Check(w.ctx, w.target)
	if w.ctx.Err() != nil {
		return
	}
	if w.judge(err) {
		w.changed(w.lastFail)
	}
	interval := w.checker.config.Interval
	if w.inARow > 0 {
		interval /= doubtFactor
	}
	next := interval - interval/5 + rand.N(2*interval/5+1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.timer.Reset(max(next-time.Since(began), 0))
	}
}

// doubtFactor is how much faster checks follow one that speaks against the verdict,
// as with Envoy's edge intervals.
const doubtFactor = 5

// judge takes in a check and reports whether the verdict has changed.
func (w *watch) judge(err error) bool {
	well := err == nil
	first := well && !w.passed
	w.passed = w.passed || well
	if well == !w.sick {
		w.inARow = 0
		return false
	}
	w.inARow++
	need := w.checker.config.Unhealthy
	if well {
		need = w.checker.config.Healthy
	}
	if w.inARow < need && !first {
		return false
	}
	w.inARow, w.sick, w.lastFail = 0, !well, err
	return true
}
