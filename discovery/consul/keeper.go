package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	lookEvery  = 5 * time.Second        // where there is no TTL to renew, or no connection
	seeEvery   = 30 * time.Second       // where there are other checks too; Consul takes nothing out that is critical for less than 1 min
	nudgeEvery = time.Second            // how often a keeper can be nudged, or a scout looks
	nudgeWait  = 100 * time.Millisecond // spreads what was nudged together
	keepMax    = 2 * time.Second        // of a rest after a failure
)

// keeper keeps one registration known to the agent.
type keeper struct {
	reg    *registration
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	began    time.Time       // when the last step did
	due      time.Time       // when the next step is
	scouts   bool            // has heard the alarm, and does not know yet
	look     time.Time       // when a scout looks; zero if it has
	since    time.Time       // when the alarm was raised that it has heard
	failures int             // in a row
	sick     bool            // Ready's last word was an error
	hangs    bool            // Ready does not return
	critical map[string]bool // the checks of the agent's that were, when it was last asked
}

func newKeeper(ctx context.Context, reg *registration) *keeper {
	k := &keeper{reg: reg, done: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(ctx)
	return k
}

// run takes the first step after a time, and goes on until the keeper's
// context ends.
func (k *keeper) run(first time.Duration) {
	defer close(k.done)
	defer k.cancel()
	defer k.resign()
	for k.due = time.Now().Add(first); k.rest(); {
		if k.scouts && !k.scout() {
			continue
		}
		k.began = time.Now()
		rest := k.step()
		k.due = time.Now().Add(rest)
	}
}

// rest waits until something is due, and reports whether the keeper goes on. A
// nudge makes a step due soon and an alarm the look of a scout, but neither
// after a failure, where the rest is short anyway.
func (k *keeper) rest() bool {
	timer := time.NewTimer(time.Until(k.next()))
	defer timer.Stop()
	wake, alarm := k.reg.wake, k.reg.registrar.alarm.heard
	if k.failures > 0 {
		wake, alarm = nil, nil
	}
	for {
		select {
		case <-k.ctx.Done():
			return false
		case <-timer.C:
			return k.ctx.Err() == nil
		case <-wake:
			if soon := latest(time.Now().Add(rand.N(nudgeWait)), k.began.Add(nudgeEvery)); soon.Before(k.due) {
				k.due = soon
			}
		case <-alarm:
			k.since = k.reg.registrar.alarm.raisedAt()
			k.scouts, k.look = true, k.reg.registrar.alarm.due()
			alarm = nil
		}
		timer.Reset(time.Until(k.next()))
	}
}

// next is when the next step or look is due.
func (k *keeper) next() time.Time {
	if k.scouts && !k.look.IsZero() && k.look.Before(k.due) {
		return k.look
	}
	return k.due
}

// scout looks whether the agent still knows the endpoint, unless a step is due
// that will find out. It reports whether to take a step: all is well where not.
func (k *keeper) scout() bool {
	if k.look.IsZero() {
		return true
	}
	k.look = time.Time{}
	k.reg.registrar.alarm.begin()
	if !time.Now().Before(k.due) {
		return true
	}
	err := k.see()
	k.learn(err)
	return err != nil
}

// learn ends the scouting once the agent has said that it knows an endpoint, or
// nudges the other keepers where it does not, or cannot be reached. That it knows
// one which it was told of since the alarm proves nothing. A keeper that was not
// scouting and finds the same raises the alarm.
func (k *keeper) learn(err error) {
	switch {
	case !k.scouts && (unknown(err) || unreachable(err)) && k.failures == 0:
		k.reg.registrar.alarm.raise()
	case !k.scouts:
	case err == nil && k.reg.told.Load() < k.since.UnixNano():
		k.scouts = false
	case err == nil || unknown(err) || unreachable(err):
		k.scouts = false
		k.reg.registrar.nudgeOthers(k.reg)
	}
}

// resign lets another keeper hear what this one did not find out.
func (k *keeper) resign() {
	if k.scouts {
		k.reg.registrar.alarm.begin()
		k.reg.registrar.alarm.raise()
	}
}

// step does what is due and returns the time until the next.
func (k *keeper) step() time.Duration {
	err := k.refresh()
	if err == nil {
		err = k.beat()
	}
	k.learn(err)
	forgotten := unknown(err)
	if forgotten {
		err = k.restore()
	}
	if k.ctx.Err() != nil {
		return 0
	}
	k.note(err, forgotten)
	if err != nil {
		k.failures++
		return backoff(k.failures, keepMax)
	}
	k.failures = 0
	return jitter(k.reg.registrar.interval())
}

// refresh registers again where the agent may know the endpoint otherwise, or
// keeps another token than the one that serves now. It comes before the beat,
// which may be a change that the agent could not tell with the old token.
func (k *keeper) refresh() error {
	ctx, cancel := context.WithTimeout(k.ctx, k.reg.registrar.patience())
	defer cancel()
	token, err := k.reg.registrar.agent.token(ctx)
	if err == nil && (k.reg.stale.Load() || k.reg.token.Load() != token) {
		err = k.restore()
	}
	return err
}

// beat looks how the checks are that the agent makes, where there are any, and
// renews the TTL check, where there is one.
func (k *keeper) beat() error {
	r := k.reg.registrar
	var looked error
	if r.polls() {
		looked = k.see()
	}
	if r.heart == nil || unknown(looked) {
		return looked
	}
	if r.heart.Ready != nil {
		k.resign() // Ready may take its time, and hang
		k.scouts = false
	}
	v, ok := k.reg.ready.ask(k.ctx, k.noteHang)
	if !ok {
		return k.ctx.Err()
	}
	k.noteVerdict(v)
	ctx, cancel := context.WithTimeout(k.ctx, r.patience())
	defer cancel()
	if err := r.agent.beat(ctx, r.heartID(k.reg.id), v); err != nil {
		return err
	}
	return looked
}

// see looks how the endpoint is.
func (k *keeper) see() error {
	ctx, cancel := context.WithTimeout(k.ctx, k.reg.registrar.patience())
	defer cancel()
	if err := k.reg.look(ctx); err != nil {
		return err
	}
	k.noteChecks()
	return nil
}

// restore tells the agent once more what stands. It is not cut short where the
// keeper ends: a request given up may still be obeyed, and then after the
// deregistration that waits for this turn.
func (k *keeper) restore() error {
	if err := k.reg.take(k.ctx); err != nil {
		return err
	}
	defer k.reg.release()
	if k.ctx.Err() != nil {
		return k.ctx.Err()
	}
	r := k.reg.registrar
	ctx, cancel := context.WithTimeout(r.closed, min(r.config.timeout(), keepWithin))
	defer cancel()
	if err := k.reg.put(ctx, k.reg.definition, false); err != nil {
		return err
	}
	k.reg.stale.Store(false)
	return nil
}

// note logs each change between trouble and none.
func (k *keeper) note(err error, forgotten bool) {
	log := k.reg.registrar.config.logger().With("service", k.reg.service, "id", k.reg.id)
	switch {
	case err != nil && k.failures == 0:
		log.Warn("consul: the agent cannot be told of an endpoint, trying on", "error", err)
	case err == nil && forgotten:
		log.Info("consul: an endpoint was not at the agent any more, and is registered again")
	case err == nil && k.failures > 0:
		log.Info("consul: the agent is told of an endpoint again")
	}
}

func (k *keeper) noteVerdict(v verdict) {
	sick := v.status != api.HealthPassing
	if sick == k.sick && !k.hangs {
		return
	}
	k.sick, k.hangs = sick, false
	log := k.reg.registrar.config.logger().With("service", k.reg.service, "id", k.reg.id)
	if sick {
		log.Warn("consul: an endpoint is not ready", "error", v.output)
	} else {
		log.Info("consul: an endpoint is ready again")
	}
}

// noteChecks logs each change of a check that the agent makes: one that never
// passes would else be silent on both sides.
func (k *keeper) noteChecks() {
	r := k.reg.registrar
	for id, v := range k.reg.health() {
		critical := v.status == api.HealthCritical
		if id == r.heartID(k.reg.id) || critical == k.critical[id] {
			continue
		}
		if k.critical == nil {
			k.critical = make(map[string]bool)
		}
		k.critical[id] = critical
		log := r.config.logger().With("service", k.reg.service, "id", k.reg.id, "check", id)
		if critical {
			log.Warn("consul: the agent finds an endpoint critical", "output", v.output)
		} else {
			log.Info("consul: the agent no longer finds an endpoint critical")
		}
	}
}

func (k *keeper) noteHang() {
	k.hangs = true
	k.reg.registrar.config.logger().Warn("consul: Ready does not return, so the endpoint's TTL runs out",
		"service", k.reg.service, "id", k.reg.id)
}

// polls reports whether there is a check that the agent makes.
func (r *Registrar) polls() bool { return r.heart == nil || len(r.checks) > 1 }

// interval is the longest time between two steps that succeed.
func (r *Registrar) interval() time.Duration {
	switch {
	case r.heart == nil:
		return lookEvery
	case r.polls():
		return min(r.heart.ttl()/3, seeEvery)
	}
	return r.heart.ttl() / 3
}

// patience bounds one beat, so that the next is not late for its TTL.
func (r *Registrar) patience() time.Duration {
	return min(r.config.timeout(), keepWithin, r.interval())
}

// jitter draws from 4/5 of d to all of it.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d/5) }
