package consul

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

// maxOutput bounds what the agent is told of Ready's error, in bytes.
const maxOutput = 1024

// verdict is what the agent is told about a TTL check, or tells of another one.
type verdict struct{ status, output string }

// asker asks a TTLCheck's Ready, one call at a time. One keeper after the other
// uses it; last is read by whoever registers, too.
type asker struct {
	ready   func(context.Context) error
	within  time.Duration
	pending *call // under way; nil if there is none
	last    atomic.Pointer[verdict]
}

// call is one of Ready.
type call struct {
	keeper context.Context // ends with the keeper that asked
	answer chan verdict    // receives one
}

func newAsker(c TTLCheck) *asker {
	a := &asker{ready: c.Ready, within: c.ttl() / 3}
	if a.asks() {
		a.last.Store(&verdict{api.HealthCritical, "not yet asked whether it is ready"})
	} else {
		a.last.Store(&verdict{api.HealthPassing, "the process lives"})
	}
	return a
}

func (a *asker) asks() bool { return a.ready != nil }

// ask returns what Ready says now, or false if ctx has ended before. A call
// that an earlier keeper left behind goes before a new one, but its answer is
// nobody's: it may be but that its context was cancelled. late is called once
// for each call whose answer is overdue.
func (a *asker) ask(ctx context.Context, late func()) (verdict, bool) {
	if !a.asks() {
		return *a.last.Load(), true
	}
	overdue := time.NewTimer(a.overdue())
	defer overdue.Stop()
	for ctx.Err() == nil {
		if a.pending == nil {
			a.pending = &call{ctx, make(chan verdict, 1)}
			go a.call(a.pending)
			overdue.Reset(a.overdue())
		}
		select {
		case v := <-a.pending.answer:
			left := a.pending.keeper.Err() != nil
			if a.pending = nil; left {
				continue
			}
			a.last.Store(&v)
			return v, true
		case <-overdue.C:
			late()
		case <-ctx.Done():
		}
	}
	return verdict{}, false
}

// overdue is when a call should have obeyed its context.
func (a *asker) overdue() time.Duration { return a.within + a.within/4 }

// call gives exactly one answer, whatever Ready does but hang.
func (a *asker) call(c *call) {
	v := verdict{api.HealthCritical, "Ready ended its goroutine"}
	defer func() { c.answer <- v }()
	defer func() {
		if p := recover(); p != nil {
			v.output = clip(fmt.Sprintf("Ready panicked: %v", p))
		}
	}()
	ctx, cancel := context.WithTimeout(c.keeper, a.within)
	defer cancel()
	if err := a.ready(ctx); err != nil {
		v.output = clip(err.Error())
		return
	}
	v = verdict{api.HealthPassing, "ready"}
}

// clip makes of any text one that Consul takes.
func clip(text string) string {
	if len(text) > maxOutput {
		text = text[:maxOutput] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
