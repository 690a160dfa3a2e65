package balancer

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/internal/monotime"
	"github.com/fairlead-go/fairlead/internal/rolling"
)

const (
	coolWindow     = 10 * time.Second // over which overload is compared
	coolMinSamples = 20
	coolInARow     = 5           // answers of which each is overload prove as much, as failures do to a breaker
	coolBase       = time.Second // of a cooling by comparison, doubled each time
	coolMax        = 10 * time.Second
	coolMaxAsked   = 30 * time.Second // of a cooling the endpoint asked for
	coolMemory     = 20 * time.Second // after which the doubling starts anew
)

// cooling takes a node out of the candidates for a while: because its endpoint
// asked for it, or because it answers overload clearly more often than its peers
// do. It is advice: where most nodes cool, panic ignores it.
type cooling struct {
	until atomic.Int64 // Unix nanoseconds, 0 while the node does not cool; written under mu
	timer stopTimer

	mu    sync.Mutex
	times int       // coolings by comparison in a row; guarded by mu
	ended time.Time // the end of the last of them; guarded by mu
}

func (c *cooling) active(now time.Time) bool {
	return now.UnixNano() < c.until.Load()
}

// heed lets an outcome cool the node.
func (n *Node) heed(o Outcome) {
	if o.Cool > 0 {
		n.cool(time.Now(), min(o.Cool, coolMaxAsked))
	}
	window := n.overloads.Load()
	if window == nil && o.Verdict != Overload {
		return
	}
	now := monotime.Now()
	if window == nil {
		n.overloads.CompareAndSwap(nil, rolling.New(coolWindow))
		window = n.overloads.Load()
		if window == nil {
			return
		}
	}
	switch o.Verdict {
	case Overload:
		window.Add(now, 0, 1)
		if n.overloaded(now, window) {
			window.Reset()
			wall := time.Now()
			n.cool(wall, n.cooling.next(wall))
		}
	case Neutral:
	default:
		window.Add(now, 1, 0)
		if _, bad := window.Sum(now); bad == 0 {
			n.overloads.CompareAndSwap(window, nil)
		}
	}
}

// overloaded reports whether the node's share of overload is clearly worse than its peers'.
func (n *Node) overloaded(now monotime.Time, window *rolling.Window) bool {
	rate, samples := window.Rate(now)
	some := samples >= coolMinSamples && rate >= 0.2
	nothingElse := samples >= coolInARow && rate == 1
	if !some && !nothingElse || n.cooling.active(time.Now()) {
		return false
	}
	members := n.balancer.members()
	return n.balancer.overloads.Worse(now, window, len(members), coolingWindows(members))
}

func coolingWindows(members []*Node) iter.Seq[*rolling.Window] {
	return func(yield func(*rolling.Window) bool) {
		for _, n := range members {
			if !yield(n.overloads.Load()) {
				return
			}
		}
	}
}

// next returns how long the next cooling by comparison lasts.
func (c *cooling) next(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.ended) {
		return 0 // another call was faster
	}
	if now.Sub(c.ended) > coolMemory {
		c.times = 0
	}
	d := min(coolBase<<min(c.times, 10), coolMax)
	c.times++
	c.ended = now.Add(d)
	return d
}

// cool takes the node out for d, unless it is out for longer already.
func (n *Node) cool(now time.Time, d time.Duration) {
	c := &n.cooling
	until := now.Add(d).UnixNano()
	c.mu.Lock()
	longer := d > 0 && until > c.until.Load()
	if longer {
		c.until.Store(until)
		c.timer.after(d, func() { n.warm(until) })
	}
	c.mu.Unlock()
	if longer {
		n.changed()
	}
}

// warm ends the cooling that was to last until then, whatever the wall clock
// says by now: it may have been set back.
func (n *Node) warm(until int64) {
	n.cooling.mu.Lock()
	n.cooling.until.CompareAndSwap(until, 0)
	n.cooling.mu.Unlock()
	n.changed()
}
