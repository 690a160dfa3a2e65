package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/internal/wake"
)

const holdDefault = 30 * time.Second

// Held is a Resolver that does not believe at once that all endpoints of a
// service are gone. Make one with [Hold]. All methods are safe for concurrent use.
type Held struct {
	resolver Resolver
	time     time.Duration
	wakers   wake.Set[string]
}

var (
	_ Resolver  = (*Held)(nil)
	_ Refresher = (*Held)(nil)
)

// Hold returns a Resolver that yields r's snapshots, but holds back an empty or
// unknown one that comes after one with endpoints: registries lose their memory
// more often than services lose all endpoints at once. It is yielded after d,
// and forgotten if one with endpoints comes before. Zero d means 30 s; a
// negative one is an error of Validate.
//
// A Mesh holds empty answers itself. Hold is for readers without one, and for
// one source of several below a [Merge].
func Hold(r Resolver, d time.Duration) *Held {
	return &Held{resolver: r, time: d}
}

// Watch yields the snapshots that are believed, unless they are what was yielded
// before. Errors are passed on. A sequence of the inner resolver that ends early
// is watched again after a random time of up to 5 ms, doubling to 5 s.
//
// A goroutine runs for each sequence, which ends before the sequence does.
func (h *Held) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		if err := h.validateTime(); err != nil {
			refuse(ctx, Snapshot{}, err, yield)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		var inner sync.WaitGroup
		defer inner.Wait()
		defer cancel()
		said := make(chan statement)
		woken, remove := h.wakers.Add(service)
		defer remove()
		inner.Go(func() { follow(ctx, h.resolver, service, woken, teller(ctx, said, 0)) })

		w := holdWatch{time: cmp.Or(h.time, holdDefault), yield: yield}
		defer w.release()
		w.run(ctx, said)
	}
}

// Refresh is passed on, and cuts a back-off short that has lasted a second.
func (h *Held) Refresh(service string) {
	refreshInner(h.resolver, service)
	h.wakers.Wake(service)
}

// Validate returns an error if d is negative or the resolver is nil, or what
// the resolver's own Validate says.
func (h *Held) Validate() error {
	return errors.Join(h.validateTime(), validateInner("Hold's resolver", h.resolver))
}

func (h *Held) validateTime() error {
	if h.time < 0 {
		return fmt.Errorf("discovery: Hold's d is %v, want more than 0, or 0 meaning %v", h.time, holdDefault)
	}
	return nil
}

// holdWatch is the state of one sequence of a Held.
type holdWatch struct {
	time  time.Duration
	yield func(Snapshot, error) bool
	last  told
	held  *statement  // waits to be believed, or nil
	timer *time.Timer // runs while there is one
}

func (w *holdWatch) run(ctx context.Context, said <-chan statement) {
	for {
		var due <-chan time.Time
		if w.held != nil {
			due = w.timer.C
		}
		var goOn bool
		select {
		case <-ctx.Done():
			return
		case s := <-said:
			goOn = w.heed(s)
		case <-due:
			s := *w.held
			w.release()
			goOn = w.pass(s)
		}
		if !goOn {
			return
		}
	}
}

func (w *holdWatch) heed(s statement) bool {
	switch {
	case s.failed():
		w.last.doubt()
		return w.yield(s.snapshot, s.err)
	case len(s.snapshot.Endpoints) > 0 || len(w.last.snapshot.Endpoints) == 0:
		w.release()
		return w.pass(s)
	case w.held == nil:
		w.timer = time.NewTimer(w.time)
	}
	w.held = &s
	return true
}

func (w *holdWatch) pass(s statement) bool {
	return !w.last.news(s.snapshot, s.err) || w.yield(s.snapshot, s.err)
}

func (w *holdWatch) release() {
	if w.held != nil {
		w.timer.Stop()
		w.held, w.timer = nil, nil
	}
}
