package breaker

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

// lastHalfFactor is how many times the failures it takes to open a breaker where
// less than half of its group would stay closed.
const lastHalfFactor = 3

// Group is the breakers of one service's endpoints: each of them judges its
// endpoint in the light of the others. Make one with [NewGroup]. All methods are
// safe for concurrent use; none blocks.
type Group struct {
	config     Config
	alone      bool // of a Breaker that knows nothing of peers
	comparison rolling.Comparison
	listed     atomic.Pointer[[]*Breaker] // the members, for comparison; nil when they have changed

	mu      sync.Mutex
	members []*Breaker // guarded by mu
	size    int        // those that are not draining; guarded by mu
	out     int        // those of them that are not closed; guarded by mu
}

// NewGroup returns a Group without members, or an error that names the field,
// its value and what is allowed.
func NewGroup(config Config) (*Group, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Group{config: config}, nil
}

// Add returns a new member, closed and not draining. Its Close takes it out again.
func (g *Group) Add(hooks Hooks) *Breaker {
	b := newBreaker(g, hooks)
	g.mu.Lock()
	defer g.mu.Unlock()
	b.index = len(g.members)
	g.members = append(g.members, b)
	g.listed.Store(nil)
	g.size++
	return b
}

func (g *Group) remove(b *Breaker) {
	g.mu.Lock()
	if b.index < 0 {
		g.mu.Unlock()
		return
	}
	last := g.members[len(g.members)-1]
	g.members[b.index], last.index = last, b.index
	g.members[len(g.members)-1] = nil
	g.members = g.members[:len(g.members)-1]
	b.index = gone
	g.listed.Store(nil)
	wasOpen := g.allOpenLocked()
	if !b.draining.Load() {
		g.countLocked(b, -1)
	}
	hasten := !wasOpen && g.allOpenLocked()
	g.mu.Unlock()
	if hasten {
		g.hasten()
	}
}

// gone is the index of a breaker that is no member.
const gone = -1

// list returns the members. It is not to be changed.
func (g *Group) list() []*Breaker {
	if l := g.listed.Load(); l != nil {
		return *l
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := slices.Clone(g.members)
	g.listed.Store(&l)
	return l
}

func (g *Group) drain(b *Breaker, draining bool) {
	g.mu.Lock()
	if b.draining.Load() == draining || b.index == gone {
		g.mu.Unlock()
		return
	}
	b.draining.Store(draining)
	if draining {
		g.countLocked(b, -1)
	} else {
		g.countLocked(b, +1)
	}
	g.mu.Unlock()
	g.hasten()
}

// countLocked takes a member into the counts, or out of them.
func (g *Group) countLocked(b *Breaker, n int) {
	g.size += n
	if b.out {
		g.out += n
	}
}

// open claims the right to leave Closed after so many failures in a row.
func (g *Group) open(b *Breaker, failures int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if failures/lastHalfFactor < g.config.ConsecutiveFailures && g.lastHalfLocked(b) {
		return false
	}
	g.outLocked(b)
	return true
}

// openWorse says that b leaves Closed because it is worse than its peers.
func (g *Group) openWorse(b *Breaker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outLocked(b)
}

// lastHalfLocked reports whether less than half of the group would stay closed
// without b. A draining member takes nothing away.
func (g *Group) lastHalfLocked(b *Breaker) bool {
	return !g.alone && !b.draining.Load() && 2*(g.size-g.out-1) < g.size
}

func (g *Group) outLocked(b *Breaker) {
	b.out = true
	if !b.draining.Load() {
		g.out++
	}
}

// back says that a member closed again.
func (g *Group) back(b *Breaker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b.out = false
	if !b.draining.Load() {
		g.out--
	}
}

// allOpen reports whether no member is left to take calls. Nobody knows that of
// a Breaker from New.
func (g *Group) allOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allOpenLocked()
}

func (g *Group) allOpenLocked() bool { return !g.alone && g.size > 0 && g.out >= g.size }

// hasten shortens the open periods that run where no member is left.
func (g *Group) hasten() {
	if !g.allOpen() {
		return
	}
	for _, b := range g.list() {
		b.Hasten()
	}
}

func (g *Group) worse(now monotime.Time, own *rolling.Window) bool {
	members := g.list()
	return g.comparison.Worse(now, own, len(members), windows(members))
}

// windows yields those of the closed members: the others are known to be bad
// and would make the rest look good. A draining one gets too few calls to compare.
func windows(members []*Breaker) iter.Seq[*rolling.Window] {
	return func(yield func(*rolling.Window) bool) {
		for _, b := range members {
			if b.State() == Closed && !b.draining.Load() && !yield(b.window) {
				return
			}
		}
	}
}
