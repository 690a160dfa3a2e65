package consul_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// event is one step of a watch.
type event struct {
	discovery.Snapshot
	err error
	at  time.Time
}

// follower reads a watch in the background.
type follower struct {
	t      *testing.T
	events chan event
	cancel context.CancelFunc
	ended  chan struct{}
	seen   *discovery.Snapshot // the last one read, or nil
}

func newResolver(t *testing.T, config consul.Config) *consul.Resolver {
	t.Helper()
	resolver, err := consul.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resolver.Close() })
	return resolver
}

func follow(t *testing.T, r discovery.Resolver, service string) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: t, events: make(chan event, 10_000), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		for s, err := range r.Watch(ctx, service) {
			f.events <- event{s, err, time.Now()}
		}
	}()
	t.Cleanup(f.stop)
	return f
}

// stop ends the watch and checks that it ends within the second it has.
func (f *follower) stop() {
	f.t.Helper()
	began := time.Now()
	f.cancel()
	<-f.ended
	if took := time.Since(began); took > time.Second {
		f.t.Errorf("the watch ended %v after its context, want within 1 s", took)
	}
}

func (f *follower) next(what string) event {
	f.t.Helper()
	return f.until(what, func(event) bool { return true })
}

// until returns the first event that satisfies ok.
func (f *follower) until(what string, ok func(event) bool) event {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e := <-f.events:
			f.read(e)
			if ok(e) {
				return e
			}
			f.t.Logf("waiting for %s: passed over %v", what, e)
		case <-deadline:
			f.t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// read takes note of what was read, and reports whether it says anything new.
func (f *follower) read(e event) bool {
	if e.err != nil || f.seen != nil && f.seen.Equal(e.Snapshot) {
		return false
	}
	f.seen = &e.Snapshot
	return true
}

// quiet checks that nothing comes for a while.
func (f *follower) quiet(d time.Duration) {
	f.t.Helper()
	select {
	case e := <-f.events:
		f.t.Errorf("unwanted event: %+v, %v", e.Snapshot, e.err)
	case <-time.After(d):
	}
}

// String is short also where the set or the error is not.
func (e event) String() string {
	if e.err != nil {
		return fmt.Sprintf("%.300s", e.err.Error())
	}
	if n := len(e.Endpoints); n > 3 {
		return fmt.Sprintf("%d endpoints", n)
	}
	return fmt.Sprintf("%+v", e.Snapshot)
}

func (e event) has(addrs ...string) bool {
	if e.err != nil || e.Unknown || len(e.Endpoints) != len(addrs) {
		return false
	}
	for i, endpoint := range e.Endpoints {
		if endpoint.Addr != addrs[i] {
			return false
		}
	}
	return true
}

func isError(e event) bool { return e.err != nil }
