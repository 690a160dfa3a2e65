package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	callers  = 24                    // one in four calls Visit
	meanRest = 10 * time.Millisecond // of a caller between two calls
)

// load is callers that call without end.
type load struct {
	conn    grpc.ClientConnInterface
	stop    chan struct{}
	ending  sync.Once
	callers sync.WaitGroup

	mu       sync.Mutex
	calls    map[string]int     // by method; guarded by mu
	failed   map[string][]error // by method; guarded by mu
	answered map[string]int     // by server; guarded by mu
}

func startLoad(ctx context.Context, conn grpc.ClientConnInterface) *load {
	l := &load{
		conn: conn, stop: make(chan struct{}),
		calls: make(map[string]int), failed: make(map[string][]error), answered: make(map[string]int),
	}
	for i := range callers {
		method := nameMethod
		if i%4 == 3 {
			method = visitMethod
		}
		l.callers.Go(func() { l.keepCalling(ctx, method) })
	}
	return l
}

// keepCalling calls until the end, with random pauses so that callers do not
// march in step.
func (l *load) keepCalling(ctx context.Context, method string) {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(2 * meanRest)):
			answer := &wrapperspb.StringValue{}
			err := l.conn.Invoke(ctx, method, wrapperspb.String(strconv.Itoa(rand.N(100))), answer)
			l.count(method, answer.GetValue(), err)
		}
	}
}

// count takes in an answer, such as "user 42 is Ada, says users-1".
func (l *load) count(method, answer string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[method]++
	if err != nil {
		l.failed[method] = append(l.failed[method], err)
		return
	}
	_, server, _ := strings.Cut(answer, "says ")
	l.answered[server]++
}

// answers returns how often each server has answered so far.
func (l *load) answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answered)
}

// end lets the callers finish their calls.
func (l *load) end() {
	l.ending.Do(func() { close(l.stop) })
	l.callers.Wait()
}

// report prints what became of the calls. The error is of those that should not
// have failed: of Name any, of Visit those that were not lost with their server.
func (l *load) report(w io.Writer, attempts *attempts) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unexpected []error
	fmt.Fprintln(w)
	for _, method := range []string{nameMethod, visitMethod} {
		calls, failed := l.calls[method], l.failed[method]
		fmt.Fprintf(w, "%-29s %5d calls, %d errors, %d retries\n", method, calls, len(failed), attempts.of(method)-calls)
		for _, err := range failed {
			if method == nameMethod || status.Code(err) != codes.Unavailable {
				unexpected = append(unexpected, fmt.Errorf("%s: %w", method, err))
			}
		}
	}
	if len(unexpected) > 0 {
		return fmt.Errorf("%d calls failed, want none; the first: %w", len(unexpected), unexpected[0])
	}
	return nil
}

// attempts counts attempts.
type attempts struct{ name, visit atomic.Int64 }

func (a *attempts) count(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	a.counter(method).Add(1)
	return invoke(ctx, method, request, reply, conn, opts...)
}

func (a *attempts) of(method string) int { return int(a.counter(method).Load()) }

func (a *attempts) counter(method string) *atomic.Int64 {
	if method == nameMethod {
		return &a.name
	}
	return &a.visit
}
