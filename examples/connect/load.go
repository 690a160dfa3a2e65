package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// callers call at once.
const callers = 12

// load is a number of calls, and where they are reported.
type load struct {
	w        io.Writer
	calls    int
	attempts *attempts
}

// play makes the calls, does what is to happen halfway, and prints a line. The
// error is that of the first call that failed.
func (l load) play(ctx context.Context, what string, client *client, halfway func()) error {
	var tally tally
	before, _ := l.attempts.seen()
	l.callAll(func(n int) {
		if halfway != nil && n == l.calls/2 {
			halfway()
		}
		tally.count(client.CallUnary(ctx, connect.NewRequest(wrapperspb.String("42"))))
	})
	after, wire := l.attempts.seen()
	fmt.Fprintf(l.w, "%-36s %-13s", what, wire)
	for _, id := range ids {
		fmt.Fprintf(l.w, " %7d", tally.answered[id])
	}
	fmt.Fprintf(l.w, "   %d calls, %d errors, %d retries\n", l.calls, len(tally.failed), after-before-l.calls)
	if len(tally.failed) > 0 {
		return fmt.Errorf("%s: %d of %d calls failed, want none; the first: %w", what, len(tally.failed), l.calls, tally.failed[0])
	}
	return nil
}

// callAll calls with each number up to that of the calls, and waits for the last.
func (l load) callAll(call func(n int)) {
	var begun atomic.Int64
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for n := int(begun.Add(1)); n <= l.calls; n = int(begun.Add(1)) {
				call(n)
			}
		})
	}
	running.Wait()
}

// tally is what became of calls.
type tally struct {
	mu       sync.Mutex
	answered map[string]int // by server; guarded by mu
	failed   []error        // guarded by mu
}

func (t *tally) count(answer *connect.Response[wrapperspb.StringValue], err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed = append(t.failed, err)
		return
	}
	if t.answered == nil {
		t.answered = make(map[string]int)
	}
	t.answered[answer.Msg.GetValue()]++
}

// attempts sees what goes over the wire.
type attempts struct {
	mu   sync.Mutex
	n    int    // guarded by mu
	wire string // method and protocol of the last answer; guarded by mu
}

func (a *attempts) seen() (n int, wire string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n, a.wire
}

func (a *attempts) count(next http.RoundTripper) http.RoundTripper {
	return counting{next, a}
}

type counting struct {
	http.RoundTripper
	attempts *attempts
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	c.attempts.mu.Lock()
	defer c.attempts.mu.Unlock()
	c.attempts.n++
	if err == nil {
		c.attempts.wire = r.Method + " " + response.Proto
	}
	return response, err
}
