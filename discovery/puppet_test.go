package discovery_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
)

// puppet is a Resolver that says what it is told, in the words of a log.
type puppet struct {
	words     chan string
	watches   atomic.Int32 // begun
	watching  atomic.Int32 // going on
	refreshed atomic.Int32
}

func newPuppet() *puppet { return &puppet{words: make(chan string)} }

// says makes it say the word, and waits until that has been heard. It is for bubbles.
func (p *puppet) says(word string) {
	p.words <- word
	synctest.Wait()
}

func (p *puppet) Refresh(string) { p.refreshed.Add(1) }

func (p *puppet) Watch(ctx context.Context, _ string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		p.watches.Add(1)
		p.watching.Add(1)
		defer p.watching.Add(-1)
		for {
			select {
			case <-ctx.Done():
				return
			case word := <-p.words:
				if word == "end" || !yield(parse(word)) {
					return
				}
			}
		}
	}
}

// parse is the reverse of write.
func parse(word string) (discovery.Snapshot, error) {
	text, failure, failed := strings.Cut(word, "!")
	var err error
	if failed {
		err = errors.New(failure)
	}
	switch text {
	case "", "empty":
		return discovery.Snapshot{}, err
	case "unknown":
		return discovery.Snapshot{Unknown: true}, err
	}
	var endpoints []discovery.Endpoint
	for field := range strings.FieldsSeq(text) {
		addr, zone, _ := strings.Cut(field, "@")
		endpoints = append(endpoints, discovery.Endpoint{Addr: addr, Zone: zone})
	}
	return discovery.Snapshot{Endpoints: endpoints}, err
}

// write writes a statement as one word: "a:1 b:1@zone", "empty", "unknown",
// each with "!reason" behind it if there is an error; "!reason" alone is
// nothing but that.
func write(s discovery.Snapshot, err error) string {
	text := "empty"
	switch {
	case s.Unknown:
		text = "unknown"
	case len(s.Endpoints) > 0:
		var fields []string
		for _, e := range s.Endpoints {
			field := e.Addr
			if e.Zone != "" {
				field += "@" + e.Zone
			}
			fields = append(fields, field)
		}
		text = strings.Join(fields, " ")
	case err != nil:
		text = ""
	}
	if err != nil {
		text += "!" + err.Error()
	}
	return text
}

// log collects what a watch yields. It is for bubbles.
type log struct {
	t     *testing.T
	stop  func()
	mu    sync.Mutex
	words []string // guarded by mu
}

func record(t *testing.T, r discovery.Resolver, service string) *log {
	ctx, cancel := context.WithCancel(t.Context())
	l := &log{t: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s, err := range r.Watch(ctx, service) {
			l.mu.Lock()
			l.words = append(l.words, write(s, err))
			l.mu.Unlock()
		}
		if ctx.Err() == nil {
			t.Error("the sequence ended before its context")
		}
	}()
	l.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(l.stop)
	return l
}

// came checks what was yielded since the last call.
func (l *log) came(want ...string) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(slices.Concat([]string{}, want), slices.Concat([]string{}, l.words)); diff != "" {
		l.t.Errorf("came (-want +got):\n%s", diff)
	}
	l.words = nil
}

// nilWatch is a Resolver whose Watch returns nil.
type nilWatch struct{}

func (nilWatch) Watch(context.Context, string) iter.Seq2[discovery.Snapshot, error] { return nil }

// invalid is a Resolver that is not in order.
type invalid struct{ discovery.Services }

func (invalid) Validate() error { return errors.New("not in order") }
