package breaker

import (
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// ProbeTimeout is how long a probe keeps its place. One that has not been
// reported by then, such as a long poll or a call that hangs, makes room for
// another and is ignored.
const ProbeTimeout = 10 * time.Second

// probe is the token of a call that was admitted half-open.
type probe struct {
	done  token
	taken atomic.Bool
	timer *time.Timer
}

func (b *Breaker) newProbe(done token) *probe {
	p := &probe{done: done}
	p.timer = time.AfterFunc(ProbeTimeout, func() { b.giveUp(p) })
	return p
}

// take returns the machine's token the first time.
func (p *probe) take() token {
	if p.taken.Swap(true) {
		return nil
	}
	p.timer.Stop()
	return p.done
}

// giveUp frees the place of a probe that was not reported in time.
func (b *Breaker) giveUp(p *probe) {
	if p.taken.Swap(true) {
		return
	}
	b.mu.Lock()
	b.tellLocked(p.done, balancer.Neutral)
	b.mu.Unlock()
}
