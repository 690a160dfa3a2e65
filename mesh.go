package fairlead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/tracing"
)

// Mesh is an http.RoundTripper that sends each request to an endpoint of the
// service that the host of its URL names. Make one with [New], share it, and
// close it at the end. All methods are safe for concurrent use.
type Mesh struct {
	resolver  discovery.Resolver
	options   *options
	logger    *slog.Logger
	telemetry *tracing.Telemetry
	services  services
	calls     sync.Pool // of *call
	conns     connections

	closing  atomic.Bool // no new calls
	closed   atomic.Bool // no calls at all
	closeOne sync.Mutex
	ended    chan struct{}  // closed by Close
	quiet    chan struct{}  // holds an element when a service became unused while closing
	spawned  sync.WaitGroup // begun under services.mu, and not while closed
}

var _ http.RoundTripper = (*Mesh)(nil)

// New returns a Mesh that learns from resolver who serves a name. It does no I/O
// and does not block: a service is looked up at the first call to it, or by
// [Mesh.Ready]. The error names each option that is wrong, its value and what is
// allowed; so do mistakes in a resolver that can tell them, such as
// discovery.Services.
func New(resolver discovery.Resolver, opts ...Option) (*Mesh, error) {
	if isNil(resolver) {
		return nil, errors.New("fairlead: the resolver is nil, want one such as discovery.Services or that of discovery/consul")
	}
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	if v, ok := resolver.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return nil, err
		}
	}
	telemetry, err := tracing.New(o.tracing)
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		resolver:  resolver,
		options:   o,
		logger:    o.logger,
		telemetry: telemetry,
		conns:     connections{maxIdle: o.maxIdle},
		ended:     make(chan struct{}),
		quiet:     make(chan struct{}, 1),
	}
	m.services.looked.Store(math.MinInt64)
	if err := telemetry.Observe(m.observe); err != nil {
		return nil, errors.Join(err, telemetry.Close())
	}
	return m, nil
}

// Client returns a new http.Client that sends through the Mesh. It has no
// timeout of its own: use [WithTimeout], which costs less.
func (m *Mesh) Client() *http.Client { return &http.Client{Transport: m} }

// RoundTrip sends the request to an endpoint of the service that the host of its
// URL names. It keeps the contract of http.RoundTripper: the request is not
// changed, its body is always closed, and an answer of any status is an answer.
//
// The error is the cause of the context's end, itself, when the caller's
// context ended; [ErrClosed] after Close; that of the user's middleware or
// fallback transport, itself; a plain error for a request that cannot be a call
// (its URL, scheme or header); and else a *[CallError].
func (m *Mesh) RoundTrip(req *http.Request) (*http.Response, error) {
	if !isCall(req) {
		closeBody(req)
		return nil, notCall(req)
	}
	s := m.acquireOften(req.URL.Host) // nil unless the host is the plain name of a service in use
	if s == nil {
		name, err := serviceName(req.URL.Host)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		if s, err = m.acquire(name); err != nil {
			return m.unserved(req, name, err)
		}
	}
	if s.settings.fallback != nil {
		return s.callOrFallBack(req)
	}
	resp, _, err := s.call(req)
	return resp, err
}

// unserved ends a call whose service could not be acquired, for err.
func (m *Mesh) unserved(req *http.Request, name string, err error) (*http.Response, error) {
	switch {
	case m.options.fallback != nil && errors.Is(err, ErrUnknownService):
		return m.options.fallback.RoundTrip(req)
	case errors.Is(err, ErrClosed):
		closeBody(req)
		return nil, ErrClosed
	default:
		closeBody(req)
		return nil, &CallError{Service: name, Err: err}
	}
}

// Ready looks the services up and returns when each has an endpoint that may be
// called, or when ctx ends, with an error that names those that have none and
// why. It returns at once when the Mesh is closed or a name cannot be a service's. A name the resolver does not know is waited for like any other.
func (m *Mesh) Ready(ctx context.Context, services ...string) error {
	waiting := make([]error, len(services))
	var wg sync.WaitGroup
	for i, service := range services {
		wg.Go(func() { waiting[i] = m.ready(ctx, service) })
	}
	wg.Wait()
	return errors.Join(waiting...)
}

const shutdownEvery = 20 * time.Millisecond

const (
	readyEvery   = 20 * time.Millisecond // while endpoints are known and not ready
	unknownFirst = 50 * time.Millisecond // while the name is unknown, doubling
	unknownMax   = time.Second
)

func (m *Mesh) ready(ctx context.Context, service string) error {
	name, err := serviceName(service)
	if err != nil {
		return err
	}
	var why error // it was not ready when last asked in time
	for unknown := unknownFirst; ; {
		err := m.readyNow(ctx, name)
		if err == nil || errors.Is(err, ErrClosed) {
			return err
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		pause := readyEvery
		if errors.Is(err, ErrUnknownService) {
			m.doubtUnknown(name)
			pause, unknown = unknown, min(2*unknown, unknownMax)
		}
		if sleep(ctx, pause) != nil {
			return &CallError{Service: name, Err: fmt.Errorf("%w: %w", why, context.Cause(ctx))}
		}
	}
}

func (m *Mesh) readyNow(ctx context.Context, name string) error {
	s, err := m.acquire(name)
	if err != nil {
		return err
	}
	defer s.release()
	if err := s.await(ctx, nil); err != nil {
		return err
	}
	if ready, total := s.balancer.Ready(); ready == 0 {
		return fmt.Errorf("fairlead: none of %d endpoints is ready", total)
	}
	return nil
}

// CloseIdleConnections closes the connections that no call is using.
func (m *Mesh) CloseIdleConnections() {
	for _, s := range m.all() {
		for _, n := range s.balancer.Nodes() {
			linkOf(n).closeIdle()
		}
	}
}

// Shutdown lets no new call begin, waits until those in flight have ended, their
// bodies read or closed, and closes the Mesh. Calls of gRPC count like those of
// HTTP; what is sent to the fallback transport is not waited for.
// When ctx ends first it returns the cause of that, and the calls
// go on: Close ends them.
func (m *Mesh) Shutdown(ctx context.Context) error {
	m.closing.Store(true)
	look := time.NewTicker(shutdownEvery)
	defer look.Stop()
	for m.busy() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.ended:
		case <-m.quiet:
		case <-look.C: // what was picked without a call does not tell
		}
	}
	return m.Close()
}

func (m *Mesh) busy() bool {
	if m.closed.Load() {
		return false
	}
	for _, s := range m.all() {
		if s.refs.Load() > s.holds.Load() || s.balancer.InFlight() > 0 {
			return true
		}
	}
	return false
}

// spawn runs f on a goroutine that Close waits for, unless the Mesh is closed.
func (m *Mesh) spawn(f func()) bool {
	m.services.mu.Lock()
	defer m.services.mu.Unlock()
	if m.closed.Load() {
		return false
	}
	m.spawned.Go(f)
	return true
}

// idle is called while closing, when a service is no longer in use.
func (m *Mesh) idle() {
	select {
	case m.quiet <- struct{}{}:
	default:
	}
}

// Close ends the Mesh now: calls in flight fail with [ErrClosed], connections
// are closed, watches end. What is sent through transports of the user's own
// ([WithEndpointTransport], [WithFallbackTransport], a DialTLSContext) ends when
// they end it; an endpoint's that is an io.Closer is closed. Calls of gRPC end with
// their ClientConns. Close returns when all goroutines of the Mesh have
// ended, which takes as long as the resolver takes to give up its watches. To
// close twice is no error.
func (m *Mesh) Close() error {
	m.closeOne.Lock()
	defer m.closeOne.Unlock()
	if m.closed.Load() {
		return nil
	}
	m.services.mu.Lock()
	m.closing.Store(true)
	m.closed.Store(true)
	if m.services.janitor != nil {
		m.services.janitor.Stop()
	}
	m.services.mu.Unlock()
	close(m.ended)
	all := m.all()
	for _, s := range all {
		s.cancel()
	}
	m.conns.closeAll()
	for _, s := range all {
		s.close(ErrClosed)
	}
	m.spawned.Wait()
	return m.telemetry.Close()
}
