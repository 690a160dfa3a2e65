package breaker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

// ErrOpen is returned when a breaker refuses a call: it is open, or half-open
// and its probe is under way.
var ErrOpen = errors.New("breaker: open")

// CheckTimeout bounds a [Hooks.Check].
const CheckTimeout = time.Second

const (
	reopenMemory = 20 * time.Second // a breaker that opens again this soon after closing doubles its period
	allOpenMax   = time.Second      // the longest open period while the whole group is open
	jitter       = 5                // a period is varied by a fifth
)

// Breaker guards one endpoint. Make one with [New], or [Group.Add] where there
// are peers, and Close it in the end. All methods are safe for concurrent use;
// none blocks but Close and Do.
type Breaker struct {
	group   *Group
	hooks   Hooks
	machine *gobreaker.TwoStepCircuitBreaker[struct{}]
	window  *rolling.Window
	state   atomic.Uint32
	period  atomic.Pointer[period] // the closed period that runs; nil: none
	streak  atomic.Int32           // failures in a row; raised under mu
	broken  atomic.Int32           // answers in a row that broke off after a good verdict

	mu       sync.Mutex
	verdict  verdict     // what the machine is being told; guarded by mu
	moved    move        // what the machine made of it; guarded by mu
	times    int         // doublings of the open period; guarded by mu
	closedAt time.Time   // when it last closed; guarded by mu
	timer    *time.Timer // nil unless an open period runs; guarded by mu
	until    time.Time   // its end; guarded by mu
	stopped  bool        // guarded by mu
	news     []change    // for Changed, oldest first; guarded by mu
	telling  bool        // a goroutine is telling the news; guarded by mu
	checks   sync.WaitGroup
	ctx      context.Context // of the checks
	cancel   context.CancelFunc

	draining atomic.Bool // written under Group.mu
	out      bool        // not closed; guarded by Group.mu
	index    int         // among the Group's members, or gone; guarded by Group.mu
}

// token is what Allow hands out while the breaker is not closed.
type token func(error)

// period is a time for which a breaker is closed, and the token of all calls that are
// admitted in it. The machine would only count these, and what they come to is counted
// here: it is asked when one of them is no success, which alone can end the period.
type period struct{ _ byte } // of some size, so that no two have the same address

// change is a change of state that Changed is to be told.
type change struct{ from, to State }

// verdict is a balancer.Verdict, or that an answer broke off.
type verdict = balancer.Verdict

const brokeOff verdict = 255

// move is a change of the machine's state that matters: gobreaker also goes from
// open to half-open, whenever it is asked after its nanosecond of an open period.
type move uint8

const (
	stays move = iota
	trips
	closes
	fails // the probe
)

// New returns a closed Breaker without peers, or an error that names the field,
// its value and what is allowed.
func New(config Config) (*Breaker, error) {
	g, err := NewGroup(config)
	if err != nil {
		return nil, err
	}
	g.alone = true
	return g.Add(Hooks{}), nil
}

func newBreaker(g *Group, hooks Hooks) *Breaker {
	b := &Breaker{group: g, hooks: hooks, window: rolling.New(g.config.Window)}
	b.period.Store(&period{})
	b.ctx, b.cancel = context.WithCancel(context.Background())
	// The open period is ours: gobreaker's is fixed, and ends only when somebody
	// calls. All its callbacks run under its lock. Allow takes that lock without
	// b.mu, but only moves the machine from open to half-open, which is of no
	// interest here; everybody else holds b.mu, so the callbacks may use what it guards.
	b.machine = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  1,
		Timeout:      1,
		IsExcluded:   func(error) bool { return b.excludedLocked() },
		IsSuccessful: func(error) bool { return b.succeededLocked() },
		ReadyToTrip:  func(gobreaker.Counts) bool { return b.tripLocked() },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			// Our state changes under the machine's lock too: from then on, whom
			// the machine admits sees that it opened.
			switch {
			case from == gobreaker.StateClosed:
				b.moved = trips
				b.moveLocked(Open)
			case to == gobreaker.StateClosed:
				b.moved = closes
				b.moveLocked(Closed)
			case to == gobreaker.StateOpen:
				b.moved = fails
				b.moveLocked(Open)
			}
		},
	})
	return b
}

// State returns the state of now.
func (b *Breaker) State() State { return State(b.state.Load()) }

// Allow admits one call and returns the token to hand back to Done, or refuses
// with [ErrOpen].
func (b *Breaker) Allow() (any, error) {
	if p := b.period.Load(); p != nil {
		return p, nil
	}
	if b.State() == Open {
		return nil, ErrOpen
	}
	done, err := b.machine.Allow()
	if err != nil {
		return nil, ErrOpen
	}
	if b.State() == Open {
		// It opened meanwhile, and the machine may have taken the call for its
		// probe, long before the open period ends.
		b.Done(token(done), balancer.Outcome{})
		return nil, ErrOpen
	}
	if b.State() == HalfOpen {
		return b.newProbe(done), nil
	}
	return token(done), nil
}

// Done tells what became of the call that the token was given for. Every token
// must be handed back to its breaker, once: a probe that is never answered would
// keep its breaker half-open. What was admitted before the last change of state
// tells nothing about the new one and is ignored, and so is a token that is none.
func (b *Breaker) Done(t any, o balancer.Outcome) { b.DoneAt(t, o.Verdict, monotime.Now()) }

// DoneAt is Done for the Mesh, which has read the clock once for all that counts a
// call: by now, which others cannot read.
func (b *Breaker) DoneAt(t any, v balancer.Verdict, now monotime.Time) {
	p, closed := t.(*period)
	switch {
	case !closed:
		b.done(t, v)
	case v != balancer.Success:
		b.doneClosed(p, v)
	case b.period.Load() == p:
		if b.streak.Load() != 0 {
			b.streak.Store(0)
		}
		b.window.AddGood(now)
	}
}

// done is Done for a call that was admitted while the breaker was not closed.
func (b *Breaker) done(t any, v verdict) {
	if v > balancer.Suspect {
		v = balancer.Neutral
	}
	var done token
	switch t := t.(type) {
	case token:
		done = t
	case *probe:
		done = t.take()
	}
	if done == nil {
		return
	}
	b.mu.Lock()
	moved := b.tellLocked(done, v)
	b.mu.Unlock()
	b.follow(moved)
}

// doneClosed is Done for a call that was admitted in a closed period and did not succeed.
func (b *Breaker) doneClosed(p *period, v verdict) {
	if v != balancer.Failure && v != balancer.Suspect {
		return
	}
	b.mu.Lock()
	moved := stays
	if b.period.Load() == p {
		moved = b.tellMachineLocked(v)
	}
	b.mu.Unlock()
	b.follow(moved)
}

// Ended tells how an answered call ended: with Failure where the answer broke
// off after its verdict. Such failures in a row count like any others; good
// verdicts between them do not end the row, since each of them began with one,
// but a good end does. While the breaker is not closed, Ended counts nothing.
func (b *Breaker) Ended(v balancer.Verdict) {
	switch v {
	case balancer.Success:
		if b.broken.Load() != 0 {
			b.broken.Store(0)
		}
	case balancer.Failure:
		b.mu.Lock()
		moved := stays
		if b.State() == Closed {
			moved = b.tellMachineLocked(brokeOff)
		}
		b.mu.Unlock()
		b.follow(moved)
	}
}

// Do calls if the breaker admits it, and returns [ErrOpen] if not. A panic in
// call counts as a failure and goes on. It blocks for as long as call does.
func (b *Breaker) Do(call func() balancer.Outcome) error {
	t, err := b.Allow()
	if err != nil {
		return err
	}
	o := balancer.Outcome{Verdict: balancer.Failure}
	defer func() { b.Done(t, o) }()
	o = call()
	return nil
}

// Hasten shortens the open period that runs, if any, so that it ends within a
// second: nobody is left to take the calls. A [Group] does so by itself when the
// last of its members opens; Hasten is for whoever knows of other reasons.
func (b *Breaker) Hasten() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer == nil || time.Until(b.until) <= allOpenMax || !b.timer.Stop() {
		return
	}
	b.scheduleLocked(vary(allOpenMax, allOpenMax))
}

// Recheck ends the open period that runs, if any: there is reason to believe that
// the endpoint is well. A check, if there is one, and the probe come at once.
func (b *Breaker) Recheck() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil && b.timer.Stop() {
		b.scheduleLocked(0)
	}
}

// SetDraining says that the endpoint gets no new calls, or gets them again. A
// draining member is not one that could take the calls of the others: the Group
// counts it neither as closed nor as open, and compares nobody with it. Its own
// breaker goes on as before.
func (b *Breaker) SetDraining(draining bool) {
	if b.draining.Load() != draining {
		b.group.drain(b, draining)
	}
}

// Close ends the breaker's timer and check, waits for them, and takes the
// breaker out of its group. It stays in the state it has, whatever is told it
// later. Closing twice does nothing more.
func (b *Breaker) Close() {
	b.mu.Lock()
	b.stopped = true
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	b.mu.Unlock()
	b.cancel()
	b.checks.Wait()
	b.group.remove(b)
}
