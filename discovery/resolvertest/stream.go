package resolvertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

const (
	maxEvents = 10_000 // that a stream keeps
	maxShown  = 10     // that an error tells of
)

var (
	errNil     = errors.New("nil came of Watch, due a sequence")
	errEarly   = errors.New("the sequence ended before its context")
	errEndless = fmt.Errorf("the sequence yielded %d times without a rest", maxEvents)
)

// event is one yield.
type event struct {
	came discovery.Snapshot // as it was yielded
	copy discovery.Snapshot // of the moment it was yielded
	err  error
}

// failed reports whether it says nothing but that something went wrong.
func (e event) failed() bool { return e.err != nil && !e.copy.Unknown }

func (e event) String() string {
	switch {
	case e.failed():
		return "error (" + e.err.Error() + ")"
	case e.err != nil:
		return describe(e.copy) + " beside error (" + e.err.Error() + ")"
	}
	return describe(e.copy)
}

// stream is a watch that is read on a goroutine of its own, as fast as it yields.
type stream struct {
	cancel context.CancelFunc
	ended  chan struct{}
	fault  error // why it ended by itself, once it has ended

	mu     sync.Mutex
	events []event       // guarded by mu
	news   chan struct{} // closed at each event; guarded by mu
	taken  int           // of events, by the rule
}

func (s Subject) watch(ctx context.Context, service string) *stream {
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{cancel: cancel, ended: make(chan struct{}), news: make(chan struct{})}
	go func() {
		defer close(st.ended)
		st.fault = guard(func() error { return st.read(s.Resolver.Watch(ctx, service)) })
	}()
	return st
}

func (st *stream) read(sequence iter.Seq2[discovery.Snapshot, error]) error {
	if sequence == nil {
		return errNil
	}
	for snapshot, err := range sequence {
		if !st.add(event{came: snapshot, copy: deepCopy(snapshot), err: err}) {
			return errEndless
		}
	}
	return nil
}

func (st *stream) add(e event) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.events = append(st.events, e)
	close(st.news)
	st.news = make(chan struct{})
	return len(st.events) < maxEvents
}

// take returns the event that comes next, or what to wait for.
func (st *stream) take() (e event, ok bool, news <-chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.taken == len(st.events) {
		return event{}, false, st.news
	}
	st.taken++
	return st.events[st.taken-1], true, nil
}

// next returns the event that comes within d, or why there is none. The end of
// d is no error: ok is false.
func (st *stream) next(d <-chan time.Time) (e event, ok bool, err error) {
	for {
		e, ok, news := st.take()
		if ok {
			return e, true, nil
		}
		select {
		case <-news:
		case <-d:
			return event{}, false, nil
		case <-st.ended:
			if e, ok, _ := st.take(); ok {
				return e, true, nil
			}
			return event{}, false, st.early()
		}
	}
}

func (st *stream) early() error {
	if st.fault != nil {
		return fmt.Errorf("the watch ended: %w", st.fault)
	}
	return errEarly
}

// until waits for an event that is ok. what says what is due.
func (st *stream) until(within time.Duration, what string, ok func(event) bool) (event, error) {
	late := time.After(within)
	for {
		e, came, err := st.next(late)
		switch {
		case err != nil:
			return event{}, fmt.Errorf("%w; came %s, due %s", err, st.list(), what)
		case !came:
			return event{}, fmt.Errorf("within %v came %s, due %s", within, st.list(), what)
		case ok(e):
			return e, nil
		}
	}
}

// anything is for rules that do not ask what comes.
func anything(event) bool { return true }

// untilSays waits for a snapshot of exactly these endpoints.
func (st *stream) untilSays(s Subject, endpoints []discovery.Endpoint) error {
	_, err := st.until(s.Within, describe(discovery.Snapshot{Endpoints: endpoints}), func(e event) bool {
		return e.err == nil && s.says(e.copy, endpoints)
	})
	return err
}

// untilBecomes waits for a snapshot of exactly the set is, and returns an error
// at one that is no step on the way to it from the set was.
func (st *stream) untilBecomes(s Subject, was, is []discovery.Endpoint) (event, error) {
	before, due := describe(discovery.Snapshot{Endpoints: was}), describe(discovery.Snapshot{Endpoints: is})
	var fault error
	e, err := st.until(s.Within, due, func(e event) bool {
		if e.failed() || e.err == nil && s.says(e.copy, is) {
			return !e.failed()
		}
		if err := s.between(e.copy, was, is); err != nil {
			fault = fmt.Errorf("after %s came %v, %w; due %s, and until then no more than steps on the way", before, e, err, due)
		}
		return fault != nil
	})
	return e, errors.Join(err, fault)
}

// during returns what comes in the time d.
func (st *stream) during(d time.Duration) []event {
	var events []event
	for end := time.After(d); ; {
		e, ok, err := st.next(end)
		if err != nil || !ok {
			return events
		}
		events = append(events, e)
	}
}

// list tells what came last.
func (st *stream) list() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.events) == 0 {
		return "nothing"
	}
	var b strings.Builder
	from := max(0, len(st.events)-maxShown)
	if from > 0 {
		fmt.Fprintf(&b, "%d others, ", from)
	}
	for i, e := range st.events[from:] {
		if i > 0 {
			b.WriteString(", then ")
		}
		b.WriteString(e.String())
	}
	return b.String()
}

// stop ends the watch and reports whether it ended soon.
func (st *stream) stop() bool {
	st.cancel()
	return within(soon, st.ended)
}

// within reports whether done is closed in the time d.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// guard makes an error of a panic: the other rules are still to be checked.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// run runs f on a goroutine and returns its error, or false if it does not end
// in the time d.
func run(d time.Duration, f func() error) (ended bool, err error) {
	result := make(chan error, 1)
	go func() { result <- guard(f) }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-result:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

func deepCopy(s discovery.Snapshot) discovery.Snapshot {
	s.Endpoints = slices.Clone(s.Endpoints)
	for i := range s.Endpoints {
		s.Endpoints[i].Metadata = maps.Clone(s.Endpoints[i].Metadata)
	}
	return s
}

// describe writes what is not the zero value.
func describe(s discovery.Snapshot) string {
	var parts []string
	if s.Unknown {
		parts = append(parts, "unknown")
	}
	for _, e := range s.Endpoints {
		parts = append(parts, describeEndpoint(e))
	}
	if len(parts) == 0 {
		return "[empty]"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func describeEndpoint(e discovery.Endpoint) string {
	text := e.Addr
	if e.ID != "" {
		text = e.ID + "=" + text
	}
	if e.Weight != 0 {
		text += fmt.Sprintf(" weight %d", e.Weight)
	}
	if e.Drain {
		text += " drain"
	}
	if e.Region != "" || e.Zone != "" {
		text += fmt.Sprintf(" in %q/%q", e.Region, e.Zone)
	}
	if len(e.Metadata) > 0 {
		text += fmt.Sprintf(" %q", e.Metadata)
	}
	return text
}
