package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"
)

// Serving is a server that others find by name while it serves. It does what
// is easily done in the wrong order: a server that is registered before it
// listens, or that stops before its callers know, fails calls at each restart.
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	context.AfterFunc(ctx, stop) // a second signal ends the process at once
//	listener, err := net.Listen("tcp", "10.0.0.1:8080")
//	…
//	err = discovery.Serving{
//		Server: &http.Server{Handler: handler}, Listener: listener,
//		Registrar: registrar, Service: "users",
//	}.Run(ctx)
type Serving struct {
	// Server answers the calls.
	Server Server

	// Listener is where it does. The Server closes it.
	Listener net.Listener

	// Registrar makes Endpoint known under the name Service.
	Registrar Registrar
	Service   string

	// Endpoint is what is registered. An empty Addr means the [AdvertisedAddr]
	// of Listener.
	Endpoint Endpoint

	// Linger is how long the server goes on as before after it was taken out of
	// the registry, because callers learn of that a moment later. Zero means
	// 3 s, -1 none.
	Linger time.Duration

	// ShutdownTimeout bounds the wait for the calls in flight after that. Zero
	// means 25 s, so that all is over within the 30 s which orchestrators give;
	// -1 means no bound.
	ShutdownTimeout time.Duration

	// Logger is told when the registry cannot be reached, and when it can be
	// again. Nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultLinger   = 3 * time.Second
	defaultShutdown = 25 * time.Second

	leaveWithin     = 5 * time.Second // for Deregister
	closeWithin     = time.Second     // for Serve, after Close
	registerWithin  = 5 * time.Second // for one attempt of many
	registerGrace   = time.Second     // for it to finish, after the end was asked for
	registerBackoff = 50 * time.Millisecond
	registerRest    = 5 * time.Second // the longest between two attempts
)

// Run serves, then registers, and blocks until ctx ends; then it deregisters,
// lingers, and shuts the server down. Where the server ends by itself it is
// deregistered at once.
//
// A registry that cannot be reached does not keep the server from serving:
// registering is tried again after a random time of up to 50 ms, doubling to 5 s,
// and logged once. A registry that cannot take the endpoint ([ErrInvalid]) ends
// Run with that error.
//
// Run returns nil if ctx ended and all calls in flight were answered; otherwise
// what went wrong: a field of s, the end of the server, a Deregister that failed
// (the registry finds out by its checks then), or a shutdown that took too long.
// Everything that Run began has ended when it returns, and so has the server,
// unless it goes on after its Close: then the error says so.
func (s Serving) Run(ctx context.Context) error {
	if err := s.complete(); err != nil {
		return err
	}
	server := start(s.Server, s.Listener)
	registration, err := s.serve(ctx, server)
	ctx = context.WithoutCancel(ctx)
	left := s.leave(ctx, registration)
	if err == nil && registration != nil {
		err = s.linger(server)
	}
	return errors.Join(err, left, s.shutDown(ctx, server))
}

// running is a server that serves.
type running struct {
	ended context.Context // ends when Serve has returned, and err stands
	err   error
}

func start(server Server, l net.Listener) *running {
	ended, end := context.WithCancel(context.Background())
	r := &running{ended: ended}
	go func() {
		defer end()
		if r.err = server.Serve(l); r.err == nil {
			r.err = errors.New("nobody asked it to")
		}
	}()
	return r
}

// await returns when the server has ended, or the cause of ctx's end.
func (r *running) await(ctx context.Context) error {
	select {
	case <-r.ended.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// complete puts defaults into the fields that have none, or names a mistake.
func (s *Serving) complete() error {
	switch {
	case s.Server == nil:
		return errors.New("discovery: Serving.Server is nil, want one such as *http.Server")
	case s.Listener == nil:
		return errors.New("discovery: Serving.Listener is nil, want one such as that of net.Listen")
	case s.Registrar == nil:
		return errors.New("discovery: Serving.Registrar is nil, want one such as that of discovery/consul")
	}
	if s.Endpoint.Addr == "" {
		addr, err := AdvertisedAddr(s.Listener)
		if err != nil {
			return err
		}
		s.Endpoint.Addr = addr
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	return errors.Join(
		s.validateService(),
		s.Endpoint.Validate(),
		orDefault("Linger", &s.Linger, defaultLinger),
		orDefault("ShutdownTimeout", &s.ShutdownTimeout, defaultShutdown),
	)
}

func (s *Serving) validateService() error {
	if err := validateName(s.Service); err != nil {
		return fmt.Errorf("discovery: Serving.Service: %w", unprefixed(err))
	}
	return nil
}

func orDefault(field string, d *time.Duration, zero time.Duration) error {
	switch {
	case *d == 0:
		*d = zero
	case *d < 0 && *d != -1:
		return fmt.Errorf("discovery: Serving.%s is %v, want more than 0, or 0 (meaning %v), or -1 (meaning none)", field, *d, zero)
	}
	return nil
}

// serve registers, and returns when ctx ends or, with an error, when the server
// does or the registry refuses.
func (s *Serving) serve(ctx context.Context, server *running) (Registration, error) {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(server.ended, stop)()
	registration, err := s.register(serving)
	if err != nil {
		return nil, err
	}
	<-serving.Done()
	if ctx.Err() == nil {
		err = s.ended(server)
	}
	return registration, err
}

func (s *Serving) ended(server *running) error {
	return fmt.Errorf("discovery: the server of %q ended: %w", s.Service, server.err)
}

// register tries until it succeeds or is refused, or returns nil when ctx has
// ended.
func (s *Serving) register(ctx context.Context) (Registration, error) {
	failing := false
	for ceiling := registerBackoff; ctx.Err() == nil; ceiling = min(2*ceiling, registerRest) {
		registration, err := s.registerOnce(ctx)
		switch {
		case err == nil:
			if failing {
				s.Logger.Info("discovery: registered", "service", s.Service, "endpoint", s.Endpoint.Identity())
			}
			return registration, nil
		case errors.Is(err, ErrInvalid):
			return nil, err
		case !failing && ctx.Err() == nil:
			failing = true
			s.Logger.Warn("discovery: registering failed, trying on", "service", s.Service, "endpoint", s.Endpoint.Identity(), "error", err)
		}
		timer := time.NewTimer(rand.N(ceiling))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
	return nil, nil
}

// registerOnce gives an attempt a moment to finish after ctx has ended: one that
// is cut off may have registered all the same, with nobody left to take it back.
func (s *Serving) registerOnce(ctx context.Context) (Registration, error) {
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), registerWithin)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(registerGrace, cancel) })()
	return s.Registrar.Register(attempt, s.Service, s.Endpoint)
}

// leave takes the endpoint out of the registry.
func (s *Serving) leave(ctx context.Context, registration Registration) error {
	if registration == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	if err := registration.Deregister(ctx); err != nil {
		return fmt.Errorf("discovery: deregistering %q from %q: %w", s.Endpoint.Identity(), s.Service, err)
	}
	return nil
}

// linger gives the callers time to learn that the endpoint left.
func (s *Serving) linger(server *running) error {
	timer := time.NewTimer(s.Linger)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-server.ended.Done():
		return s.ended(server)
	}
}

// shutDown ends the server.
func (s *Serving) shutDown(ctx context.Context, server *running) error {
	if s.ShutdownTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.ShutdownTimeout, fmt.Errorf("calls were in flight for more than %v", s.ShutdownTimeout))
		defer cancel()
	}
	err := s.Server.Shutdown(ctx)
	if err == nil {
		err = server.await(ctx)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = errors.Join(fmt.Errorf("discovery: shutting the server of %q down: %w", s.Service, err), s.Server.Close())
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), closeWithin, fmt.Errorf("discovery: the server of %q goes on after its Close", s.Service))
	defer cancel()
	return errors.Join(err, server.await(ctx))
}
