package consul_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

// TestAsker asks a Ready that takes its time, once for each way to end.
func TestAsker(t *testing.T) {
	for _, test := range []struct {
		name, status, output string
		ready                func(context.Context) error
		took                 time.Duration
		late                 int
	}{
		{"nil", "passing", "the process lives", nil, 0, 0},
		{"well", "passing", "ready", func(context.Context) error { return nil }, 0, 0},
		{"obeys its context", "critical", context.DeadlineExceeded.Error(), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, 3 * time.Second, 0},
		{"late", "passing", "ready", func(context.Context) error {
			time.Sleep(time.Hour)
			return nil
		}, time.Hour, 1},
		{"ends its goroutine", "critical", "Ready ended its goroutine", func(context.Context) error {
			runtime.Goexit()
			return nil
		}, 0, 0},
		{"error that panics", "critical", "Ready panicked: no text", func(context.Context) error { return textless{} }, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, late := time.Now(), 0
				asker := consul.NewAsker(consul.TTLCheck{TTL: 9 * time.Second, Ready: test.ready})
				status, output, ok := asker.Ask(t.Context(), func() { late++ })
				if took := time.Since(began); status != test.status || output != test.output || !ok || took != test.took || late != test.late {
					t.Errorf("got %s %q, %v after %v, late %d times", status, output, ok, took, late)
				}
			})
		})
	}
}

type textless struct{}

func (textless) Error() string { panic("no text") }

// TestAskerLeaves checks that ask ends with its context, and that the next
// waits for the call left behind, but does not take its answer.
func TestAskerLeaves(t *testing.T) {
	for name, obeys := range map[string]bool{"obeys its context": true, "takes its time": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, late := 0, 0
				var under atomic.Int64
				asker := consul.NewAsker(consul.TTLCheck{TTL: 9 * time.Second, Ready: func(ctx context.Context) error {
					calls++
					if under.Add(1) > 1 {
						t.Error("two calls at once")
					}
					defer under.Add(-1)
					if !obeys {
						ctx = context.Background()
					}
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(2 * time.Second):
						return fmt.Errorf("answer %d", calls)
					}
				}})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, _, ok := asker.Ask(ctx, func() {}); ok {
					t.Error("an answer where there is none")
				}
				if _, output, ok := asker.Ask(t.Context(), func() { late++ }); !ok || output != "answer 2" || calls != 2 || late != 0 {
					t.Errorf("got %q, %v after %d calls, late %d times, want that of the second", output, ok, calls, late)
				}
			})
		})
	}
}
