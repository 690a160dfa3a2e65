package fairlead

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/retry"
)

const (
	resolveWait    = 5 * time.Second // for the first snapshot, where the call has no deadline
	rewatchFirst   = 5 * time.Millisecond
	rewatchMax     = 5 * time.Second
	refreshAtMost  = time.Second // between two Refresh calls for a service
	unknownFor     = 3 * time.Second
	unknownNames   = 4096
	badEntriesMost = 10 // remembered as warned of
	retired        = -1 << 40
	lookAtMost     = time.Millisecond // between two looks for idle services
)

// service is one watched name: its settings, its nodes, and what its calls
// share. It lives from the first call to its name until it is let go.
type service struct {
	mesh     *Mesh
	name     string
	settings settings
	tls      *tls.Config
	balancer *balancer.Balancer
	breakers *breaker.Group // nil without breakers
	retry    *retry.Policy
	attempts retry.Config      // the policy's, defaults filled in
	hedger   *retry.Hedger     // nil without hedges
	checker  *health.Checker   // nil without active checks
	ejector  *health.Ejector   // nil without ejection
	limiter  *breaker.Limiter  // nil without limits
	throttle *retry.Throttler  // nil without
	chain    http.RoundTripper // the middleware around a call; nil without

	ctx    context.Context // of the watch and of dials
	cancel context.CancelFunc

	tlsAddr   atomic.Pointer[string] // the host and port of an https URL, where the last answer came by TLS
	noKey     atomic.Bool            // the missing hash key was warned of
	refreshed atomic.Int64           // Unix nanoseconds
	refs      atomic.Int64           // calls and holds; retired once let go
	holds     atomic.Int64           // of Mesh.Hold
	lastUsed  atomic.Int64           // monotime: when a call ended that left no other, to within lookAtMost

	resolved atomic.Bool   // the first snapshot was applied
	first    chan struct{} // closed when resolved, unknown or closed

	applying sync.Mutex // one snapshot is applied at a time
	mu       sync.Mutex
	outcome  error          // why there is no snapshot to come: unknown or closed; guarded by mu
	lastErr  error          // the resolver's last word, nil after a snapshot; guarded by mu
	snapshot time.Time      // of the last one; guarded by mu
	full     bool           // a snapshot with endpoints was applied and not replaced; guarded by mu
	holdings int            // so far; guarded by mu
	held     *time.Timer    // an empty snapshot waits to be believed; guarded by mu
	warned   map[string]int // bad entries that were warned of; guarded by mu
	closed   bool           // guarded by mu
}

func newService(m *Mesh, name string) (*service, error) {
	settings, err := m.options.forService(name)
	if err != nil {
		return nil, err
	}
	s := &service{mesh: m, name: name, settings: settings, first: make(chan struct{})}
	s.tls = settings.tls
	if s.retry, err = retry.New(settings.retry); err != nil {
		return nil, err
	}
	s.attempts = s.retry.Config()
	if settings.breaker != nil {
		if s.breakers, err = breaker.NewGroup(*settings.breaker); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.newHedger(), s.newHealth(), s.newLimiter(), s.newThrottle()); err != nil {
		return nil, err
	}
	s.balancer = balancer.New(balancer.Config{
		Policy:  settings.policy,
		Join:    s.newLink,
		Limit:   s.endpointLimit(),
		Observe: s.observe(),
		Leave:   func(n *balancer.Node) { linkOf(n).leave() },
	})
	if s.limiter != nil {
		s.balancer.Follow(s.limiter.Wake)
	}
	if s.chain, err = s.wrap(); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.lastUsed.Store(int64(monotime.Now()))
	return s, nil
}

// acquire keeps the service from being let go. It fails when it was already.
func (s *service) acquire() bool {
	if s.refs.Add(1) <= 0 {
		s.refs.Add(-1)
		return false
	}
	return true
}

// retire makes acquire fail, if nobody holds the service.
func (s *service) retire() bool { return s.refs.CompareAndSwap(0, retired) }

func (s *service) release() { s.releaseAt(0) }

// releaseAt is release for who has read the clock, perhaps a while ago, or does not know
// the time where it is zero.
func (s *service) releaseAt(at monotime.Time) {
	last := s.refs.Load() == 1 // else it is in use in any case, and who comes last notes when
	if last {
		s.note(at)
	}
	left := s.refs.Add(-1)
	if left == 0 && !last {
		s.note(at)
	}
	if left <= s.holds.Load() && s.mesh.closing.Load() {
		s.mesh.idle()
	}
}

// note notes that the service was in use until now. at is when its last call was
// answered: that will do, unless its caller has read for so long that the janitor has
// looked meanwhile.
func (s *service) note(at monotime.Time) {
	if at == 0 || int64(at) < s.mesh.services.looked.Load() {
		at = monotime.Now()
	}
	if at.Sub(monotime.Time(s.lastUsed.Load())) >= lookAtMost { // tidy allows for that, and to write is dearer
		s.lastUsed.Store(int64(at))
	}
}

// watch follows the resolver until the service is let go.
func (s *service) watch() {
	pause := &backoff.ExponentialBackOff{
		InitialInterval: rewatchFirst, MaxInterval: rewatchMax, Multiplier: 2,
		RandomizationFactor: 0.5, Stop: backoff.Stop, Clock: backoff.SystemClock,
	}
	pause.Reset()
	for {
		began := time.Now()
		sequence := s.mesh.resolver.Watch(s.ctx, s.name)
		if sequence == nil {
			sequence = noSequence
		}
		for snapshot, err := range sequence {
			if s.ctx.Err() != nil {
				return
			}
			s.heed(snapshot, err)
		}
		if time.Since(began) > rewatchMax {
			pause.Reset()
		}
		if sleep(s.ctx, pause.NextBackOff()) != nil {
			return
		}
	}
}

// noSequence stands for the nil that a resolver returned.
func noSequence(yield func(discovery.Snapshot, error) bool) {
	yield(discovery.Snapshot{}, errors.New("fairlead: the resolver's Watch returned nil, want a sequence"))
}

// heed takes in what the resolver says.
func (s *service) heed(snapshot discovery.Snapshot, err error) {
	if err != nil && !snapshot.Unknown {
		s.failed(err)
		return
	}
	s.mu.Lock()
	recovered := s.lastErr != nil
	s.lastErr = nil
	s.mu.Unlock()
	if recovered {
		s.mesh.logger.Info("fairlead: resolver recovered", "service", s.name)
	}
	if snapshot.Unknown && !s.resolved.Load() {
		s.mesh.forget(s, err)
		return
	}
	s.apply(snapshot.Endpoints)
}

// apply makes endpoints the service's own, unless they are as good as none and
// there were some: that is not believed at once.
func (s *service) apply(endpoints []discovery.Endpoint) {
	s.applying.Lock()
	defer s.applying.Unlock()
	usable := slices.ContainsFunc(endpoints, func(e discovery.Endpoint) bool { return e.Validate() == nil })
	if !usable && s.hold(endpoints) {
		return
	}
	s.mu.Lock()
	s.releaseHoldLocked()
	s.full = usable
	s.snapshot = time.Now()
	s.mu.Unlock()
	s.update(endpoints)
}

func (s *service) update(endpoints []discovery.Endpoint) {
	if err := s.balancer.Update(endpoints); err != nil {
		s.warn(err)
	}
	for _, n := range s.balancer.Nodes() {
		l := linkOf(n)
		l.watch()
		if l.breaker != nil {
			l.breaker.SetDraining(n.Endpoint().Drain)
		}
	}
	if s.resolved.CompareAndSwap(false, true) {
		s.settle(nil)
	}
}

// settle ends the wait for the first snapshot.
func (s *service) settle(outcome error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = outcome
	select {
	case <-s.first:
	default:
		close(s.first)
	}
}

// hold lets an empty answer wait, if it comes after one that was not:
// registries lose their memory more often than services lose all endpoints at
// once. It reports whether the answer waits.
func (s *service) hold(endpoints []discovery.Endpoint) bool {
	s.mu.Lock()
	if !s.full || s.settings.holdEmpty == 0 {
		s.mu.Unlock()
		return false
	}
	first := s.held == nil
	if first && !s.closed {
		s.holdings++
		holding := s.holdings
		s.held = time.AfterFunc(s.settings.holdEmpty, func() { s.believe(holding) })
	}
	s.mu.Unlock()
	if first {
		s.mesh.logger.Warn("fairlead: no usable endpoints any more, keeping the last ones",
			"service", s.name, "for", s.settings.holdEmpty, "malformed", len(endpoints))
	}
	return true
}

// believe applies an empty answer that has waited long enough.
func (s *service) believe(holding int) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	if s.held == nil || s.holdings != holding || s.closed {
		s.mu.Unlock()
		return
	}
	s.held = nil
	s.full = false
	s.snapshot = time.Now()
	s.mu.Unlock()
	s.update(nil)
}

func (s *service) releaseHoldLocked() {
	if s.held != nil {
		s.held.Stop()
		s.held = nil
	}
}

// failed remembers the resolver's error and logs the first of a row.
func (s *service) failed(err error) {
	s.mu.Lock()
	first := s.lastErr == nil
	s.lastErr = err
	s.mu.Unlock()
	if first {
		s.mesh.logger.Warn("fairlead: resolver failed, keeping what is known", "service", s.name, "error", err)
	}
}

// warn logs what is wrong with a registry's entries, each kind once.
func (s *service) warn(err error) {
	text := err.Error()
	s.mu.Lock()
	if s.warned == nil || len(s.warned) >= badEntriesMost {
		s.warned = make(map[string]int)
	}
	s.warned[text]++
	first := s.warned[text] == 1
	s.mu.Unlock()
	if first {
		const most = 1000
		s.mesh.logger.Warn("fairlead: endpoints left out", "service", s.name, "error", text[:min(len(text), most)])
	}
}

// await returns when the first snapshot is there, or with the reason why it is not.
func (s *service) await(ctx context.Context, cancel <-chan struct{}) error {
	if s.resolved.Load() {
		return nil
	}
	return s.awaitFirst(ctx, cancel)
}

// awaitFirst is await while there is none.
func (s *service) awaitFirst(ctx context.Context, cancel <-chan struct{}) error {
	var late <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		timer := time.NewTimer(resolveWait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-s.first:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.outcome
	case <-ctx.Done():
		return s.unresolved(context.Cause(ctx))
	case <-cancel:
		return context.Canceled
	case <-late:
		return s.unresolved(nil)
	}
}

func (s *service) unresolved(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lastErr != nil:
		return fmt.Errorf("%w: %w", ErrUnresolved, s.lastErr)
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrUnresolved, cause)
	}
	return ErrUnresolved
}

func (s *service) warnNoKey() {
	if !s.noKey.Swap(true) {
		s.mesh.logger.Warn("fairlead: a call carries neither client address nor hash key, picking by load instead",
			"service", s.name, "policy", s.balancer.Policy().Name())
	}
}

// answered remembers whether the endpoints speak TLS, for the check before a probe.
func (s *service) answered(req *http.Request) {
	if (req.URL.Scheme == "https") != (s.tlsAddr.Load() != nil) {
		s.answersBy(req.URL)
	}
}

// answersBy is answered where that is news.
func (s *service) answersBy(u *url.URL) {
	if u.Scheme != "https" {
		s.tlsAddr.Store(nil)
		return
	}
	addr := withPort(u.Host)
	s.tlsAddr.Store(&addr)
}

// refresh asks the resolver to look again, because an endpoint could not be reached.
func (s *service) refresh() {
	r, ok := s.mesh.resolver.(discovery.Refresher)
	if !ok {
		return
	}
	now, last := time.Now().UnixNano(), s.refreshed.Load()
	if now-last >= int64(refreshAtMost) && s.refreshed.CompareAndSwap(last, now) {
		r.Refresh(s.name)
	}
}

// close lets the service go. outcome is what those learn who still wait.
func (s *service) close(outcome error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.releaseHoldLocked()
	s.mu.Unlock()
	s.cancel()
	s.settle(outcome)
	s.balancer.Close()
	if s.ejector != nil {
		s.ejector.Close()
	}
}

// joined returns ctx, ended also when the service is let go: net/http dials
// under a context that the call's end does not end.
func (s *service) joined(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
