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

// verdict is what the agent is told about a TTL check.
type verdict struct{ status, output string }

// asker asks a TTLCheck's Ready, one call at a time. One keeper after the other
// uses it; last is read by whoever registers, too.
type asker struct {
	ready   func(context.Context) error
	within  time.Duration
	pending chan verdict // the answer of the call under way; nil if there is none
	last    atomic.Pointer[verdict]
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
// that another ask left behind goes before a new one. late is called once if the
// answer is overdue.
func (a *asker) ask(ctx context.Context, late func()) (verdict, bool) {
	if !a.asks() {
		return *a.last.Load(), true
	}
	if a.pending == nil {
		a.pending = make(chan verdict, 1)
		go a.call(ctx, a.pending)
	}
	overdue := time.NewTimer(a.within + a.within/4)
	defer overdue.Stop()
	for {
		select {
		case v := <-a.pending:
			a.pending = nil
			a.last.Store(&v)
			return v, true
		case <-overdue.C:
			late()
		case <-ctx.Done():
			return verdict{}, false
		}
	}
}

// call gives exactly one answer, whatever Ready does but hang.
func (a *asker) call(ctx context.Context, answer chan<- verdict) {
	v := verdict{api.HealthCritical, "Ready ended its goroutine"}
	defer func() { answer <- v }()
	defer func() {
		if p := recover(); p != nil {
			v.output = clip(fmt.Sprintf("Ready panicked: %v", p))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, a.within)
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
