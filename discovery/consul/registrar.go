package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// ErrRegistrarClosed is returned by [Registrar.Register] after [Registrar.Close].
var ErrRegistrarClosed = errors.New("consul: the registrar is closed")

const (
	keepWithin  = 5 * time.Second // at most, for a request in the background and for Close
	closeAtOnce = 16              // requests side by side
	maxConns    = 32              // of a Registrar; an agent takes 200 from one address
)

// Registrar makes endpoints known to a Consul agent and keeps them known: it
// renews TTL checks, and registers again what the agent has forgotten. Make one
// with [NewRegistrar]. All methods are safe for concurrent use.
//
// It runs one goroutine for each registration that stands.
type Registrar struct {
	config Config
	checks []Check
	heart  *TTLCheck // among checks, or nil
	agent  agent
	conns  *conns
	alarm  *alarm

	closed context.Context // ends when Close gives up what is still under way
	close  context.CancelCauseFunc

	mu       sync.Mutex
	closing  bool                     // guarded by mu
	standing map[string]*registration // by service ID; guarded by mu
	keepers  sync.WaitGroup           // grows only under mu and before closing
}

var _ discovery.Registrar = (*Registrar)(nil)

// NewRegistrar returns a Registrar that makes endpoints known to the agent that
// config names, or an error that names what in config, in the checks or in the
// CONSUL_* variables is wrong. It does no network I/O and starts nothing.
//
// Every registration has all of the checks. Without any it has one TTLCheck{}:
// it is well as long as this process lives and says so.
func NewRegistrar(config Config, checks ...Check) (*Registrar, error) {
	if len(checks) == 0 {
		checks = []Check{TTLCheck{}}
	}
	if err := errors.Join(config.validate(), validateChecks(checks)); err != nil {
		return nil, err
	}
	conns := &conns{most: maxConns}
	client, token, err := newClient(config, conns)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	r := &Registrar{
		config:   config,
		checks:   slices.Clone(checks),
		agent:    agent{client: client, token: token},
		conns:    conns,
		alarm:    newAlarm(),
		standing: make(map[string]*registration),
	}
	for i, check := range r.checks {
		switch check := check.(type) {
		case TTLCheck:
			r.heart = &check
		case HTTPCheck:
			check.Header = http.Header(check.Header).Clone()
			r.checks[i] = check
		}
	}
	r.closed, r.close = context.WithCancelCause(context.Background())
	conns.ended = r.alarm.raise
	conns.alone = func() { r.alarm.raiseLater(lookEvery, conns.none) } // nothing else would tell of a restart
	return r, nil
}

// Register makes e known as an endpoint of service and keeps it known until
// its Deregister or the Registrar's Close. ctx and Config.Timeout bound the
// call; where it returns an error nothing is kept, though an agent that did not
// answer in time may have the endpoint until its checks take it out.
//
// What Consul could never hold is an error that wraps discovery.ErrInvalid.
//
// The name is users or users.service.consul. The endpoint's ID becomes
// Consul's service ID, and where it is empty service-addr does, since Consul's
// IDs belong to the agent and not to the service. The same ID again updates what
// stands and returns the same Registration; readers see no gap, though Consul may
// show the end of a drain a moment after the rest. If an update fails the
// earlier registration stays in force. The same ID under another service is an
// error. Drain puts the endpoint into maintenance, and an update without it ends
// that; the maintenance that an operator asked for is left alone.
//
// Deregister ends the one registration of the ID, whichever of its updates
// returned the handle, and does nothing once that has ended, not even to a later
// registration of the same ID. It ends the keeping first. If it then fails, a TTL
// runs out all the same, and it may be called again.
//
// By registering the caller says that the endpoint serves, so it is passing at
// once, and its checks take over from there: an update, or the return of what
// the agent had forgotten, leaves them as they were. Only one with a
// [TTLCheck.Ready] waits, critical, for Ready's first word, which is asked at once.
func (r *Registrar) Register(ctx context.Context, service string, e discovery.Endpoint) (discovery.Registration, error) {
	d, err := r.define(service, e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", discovery.ErrInvalid, err)
	}
	reg, err := r.claim(ctx, d)
	if err != nil {
		return nil, err
	}
	defer reg.release()
	if err := reg.register(ctx, d); err != nil {
		return nil, err
	}
	return reg, nil
}

// Close ends all keeping and takes out what is still registered. It takes at
// most 5 s, or Config.Timeout if that is less; an error names what could not be
// taken out, and Close may be called again for it. Twice is no error.
func (r *Registrar) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), min(r.config.timeout(), keepWithin))
	defer cancel()
	errs := deregisterAll(ctx, r.beginClose())
	r.close(ErrRegistrarClosed)
	r.keepers.Wait()
	if err := errors.Join(errs...); err != nil {
		r.conns.drop() // and no more: Close may be called again
		return err
	}
	r.conns.close()
	return nil
}

// beginClose refuses what comes from now on, ends the keeping of what stands
// and returns it.
func (r *Registrar) beginClose() []*registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	all := slices.Collect(maps.Values(r.standing))
	for _, reg := range all {
		reg.stopLocked()
	}
	return all
}

// deregisterAll returns one error or nil for each registration.
func deregisterAll(ctx context.Context, all []*registration) []error {
	errs := make([]error, len(all))
	slots := make(chan struct{}, closeAtOnce)
	var wg sync.WaitGroup
	for i, reg := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = reg.Deregister(ctx)
		})
	}
	wg.Wait()
	return errs
}

// claim returns the registration with d's ID, which may be a new one, with its
// turn taken.
func (r *Registrar) claim(ctx context.Context, d definition) (*registration, error) {
	for {
		reg, found, err := r.find(d)
		if err != nil || !found {
			return reg, err
		}
		if err := reg.take(ctx); err != nil {
			return nil, reg.failure(ctx, "registering", err)
		}
		if !reg.gone {
			return reg, nil
		}
		reg.release()
	}
}

// find returns the registration with d's ID, or a new one, whose turn is taken.
func (r *Registrar) find(d definition) (reg *registration, found bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return nil, false, ErrRegistrarClosed
	}
	if reg, found = r.standing[d.id()]; !found {
		reg = newRegistration(r, d)
		r.standing[d.id()] = reg
		return reg, false, nil
	}
	if reg.service != d.service() {
		return nil, false, fmt.Errorf("consul: the ID %q is registered under service %q, want another one for service %q: Consul's service IDs belong to the agent", d.id(), reg.service, d.service())
	}
	return reg, true, nil
}

// forget is called with the registration's turn taken.
func (r *Registrar) forget(reg *registration) {
	reg.gone = true
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.standing, reg.id)
}

// keep starts the keeping of a registration if nobody keeps it. It returns
// false once the Registrar is being closed. The registration's turn is taken.
func (r *Registrar) keep(reg *registration, first time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	if reg.keeper == nil {
		k := newKeeper(r.closed, reg)
		reg.keeper = k
		r.keepers.Go(func() { k.run(first) })
	}
	return true
}

// nudgeOthers makes all keepers but one look soon.
func (r *Registrar) nudgeOthers(one *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, reg := range r.standing {
		if reg != one {
			reg.nudge()
		}
	}
}
