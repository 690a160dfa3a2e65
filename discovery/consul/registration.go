package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// registration is one service ID of the agent that a Registrar keeps. All that
// is registered under the ID, one update after the other, is one registration.
type registration struct {
	registrar   *Registrar
	service, id string

	turn  chan struct{} // full while somebody changes what the agent knows
	wake  chan struct{} // receives when the keeper shall look soon
	stale atomic.Bool   // the agent may have another definition than ours
	token atomic.Value  // string: the one that the agent keeps
	ready *asker        // of the TTL check; without one it never asks
	told  atomic.Int64  // Unix nanoseconds of when the agent was told last
	seen  atomic.Value  // health: the last known of the other checks

	definition definition // what stands; belongs to the turn
	tokens     int        // that came after another; belongs to the turn
	stands     bool       // the agent has been told; belongs to the turn
	gone       bool       // taken out, or never in; belongs to the turn
	keeper     *keeper    // set with the turn taken; guarded by registrar.mu
}

// newRegistration returns a registration whose turn is taken.
func newRegistration(r *Registrar, d definition) *registration {
	reg := &registration{
		registrar: r, service: d.service(), id: d.id(),
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	reg.turn <- struct{}{}
	if r.heart == nil {
		reg.ready = newAsker(TTLCheck{})
	} else {
		reg.ready = newAsker(*r.heart)
	}
	return reg
}

// take waits for the registration's turn, which is nobody else's until release.
func (reg *registration) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case reg.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (reg *registration) release() { <-reg.turn }

// register tells the agent d. The turn is taken.
func (reg *registration) register(ctx context.Context, d definition) error {
	fresh := !reg.kept()
	if fresh {
		reg.halt()
		reg.seen.Store(health(nil))
	}
	if err := reg.tell(ctx, d, fresh); err != nil {
		reg.keepOld()
		return reg.failure(ctx, "registering", err)
	}
	reg.definition, reg.stands = d, true
	reg.stale.Store(false)
	if !reg.registrar.keep(reg, reg.phase()) {
		return ErrRegistrarClosed // Close waits for the turn, and takes it out
	}
	return nil
}

func (reg *registration) tell(ctx context.Context, d definition, fresh bool) error {
	r := reg.registrar
	ctx, cancel := context.WithTimeout(ctx, r.config.timeout())
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	defer context.AfterFunc(r.closed, func() { give(context.Cause(r.closed)) })()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := reg.put(ctx, d, fresh); err != nil {
		return withCause(ctx, err)
	}
	return nil
}

// put tells the agent d. The turn is taken.
//
// The agent keeps the token and tells the servers of changes with it. What it
// could not tell with a token that is dead it takes for told, so a new one comes
// with notes that differ: then the agent tells all there is once more.
func (reg *registration) put(ctx context.Context, d definition, fresh bool) error {
	a := &reg.registrar.agent
	token, err := a.token(ctx)
	if err != nil {
		return err
	}
	if kept, ok := reg.token.Load().(string); ok && kept != token {
		reg.tokens++
	}
	var notes string
	if reg.tokens > 0 {
		notes = fmt.Sprintf("%d tokens before this one", reg.tokens)
	}
	defer func() { reg.told.Store(time.Now().UnixNano()) }()
	if err := a.register(ctx, token, d.with(*reg.ready.last.Load(), reg.health(), notes), fresh); err != nil {
		return err
	}
	reg.token.Store(token)
	return nil
}

// look asks the agent how the endpoint is, and remembers it. Where the agent
// forgets an endpoint, if only because it was critical for so long, nobody
// shall call it again before its checks know better.
func (reg *registration) look(ctx context.Context) error {
	h, err := reg.registrar.agent.look(ctx, reg.id)
	if err != nil {
		return err
	}
	seen := maps.Clone(reg.health())
	for i, c := range reg.registrar.checks {
		id := checkID(reg.id, i, c)
		if now, known := h[id]; known {
			if seen == nil {
				seen = make(health)
			}
			seen[id] = now
		}
	}
	reg.seen.Store(seen)
	return nil
}

// health is the last known of the checks that the agent makes. It is never
// changed.
func (reg *registration) health() health {
	h, _ := reg.seen.Load().(health)
	return h
}

// keepOld undoes a failed register: the keeper tells the agent again what
// stood before, for nobody knows what it took; what never stood is forgotten.
func (reg *registration) keepOld() {
	if !reg.stands {
		reg.registrar.forget(reg)
		return
	}
	reg.stale.Store(true)
	reg.nudge()
}

// phase is when the first word to the agent is due after a registration.
// Endpoints that registered together do not speak together.
func (reg *registration) phase() time.Duration {
	if reg.ready.asks() {
		return 0
	}
	return rand.N(reg.registrar.interval())
}

// Deregister ends the keeping and takes the endpoint out. ctx and
// Config.Timeout bound it; see [Registrar.Register]. Once it has succeeded
// nothing is told to the agent about the endpoint any more.
func (reg *registration) Deregister(ctx context.Context) error {
	reg.stop()
	if err := reg.take(ctx); err != nil {
		return reg.failure(ctx, "deregistering", err)
	}
	defer reg.release()
	if reg.gone {
		return nil
	}
	reg.halt()
	bounded, cancel := context.WithTimeout(ctx, reg.registrar.config.timeout())
	defer cancel()
	if err := reg.registrar.agent.deregister(bounded, reg.id); err != nil {
		return reg.failure(ctx, "deregistering", err)
	}
	reg.registrar.forget(reg)
	return nil
}

// kept reports whether a keeper is at work.
func (reg *registration) kept() bool {
	reg.registrar.mu.Lock()
	defer reg.registrar.mu.Unlock()
	return reg.keeper != nil && reg.keeper.ctx.Err() == nil
}

// stop asks the keeper to end.
func (reg *registration) stop() {
	reg.registrar.mu.Lock()
	defer reg.registrar.mu.Unlock()
	reg.stopLocked()
}

func (reg *registration) stopLocked() {
	if reg.keeper != nil {
		reg.keeper.cancel()
	}
}

// halt returns when there is no keeper. With the turn taken that is soon:
// the keeper can but be in a request that its end cancels.
func (reg *registration) halt() {
	reg.registrar.mu.Lock()
	k := reg.keeper
	reg.keeper = nil
	reg.registrar.mu.Unlock()
	if k != nil {
		k.cancel()
		<-k.done
	}
}

func (reg *registration) nudge() {
	select {
	case reg.wake <- struct{}{}:
	default:
	}
}

// failure says what failed.
func (reg *registration) failure(ctx context.Context, doing string, err error) error {
	return fmt.Errorf("consul: %s %q of service %q: %w", doing, reg.id, reg.service, withCause(ctx, err))
}

// withCause puts the cause of ctx's end, if it has ended, into err's chain.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
