package consul_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p consul.Pace
		ctx := t.Context()
		took := func(n int) time.Duration {
			began := time.Now()
			for range n {
				if err := consul.PaceWait(&p, ctx); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began)
		}
		for _, step := range []struct {
			name string
			do   func()
			n    int
			want time.Duration
		}{
			{"the burst", func() {}, consul.PaceBurst, 0},
			{"then one by one", func() {}, 3, 3 * consul.PaceEvery},
			{"rested for two", func() { time.Sleep(2 * consul.PaceEvery) }, 2, 0},
			{"and no more", func() {}, 1, consul.PaceEvery},
			{"rested for long", func() { time.Sleep(time.Hour) }, consul.PaceBurst, 0},
			{"rested for long again", func() { time.Sleep(time.Hour) }, consul.PaceBurst, 0},
			{"five had news", func() {
				for range 5 {
					consul.PaceRefund(&p)
				}
			}, 5, consul.PaceEvery},
			{"a large answer", func() { time.Sleep(time.Hour); consul.PaceArrived(&p, consul.LargeAnswer) }, 1, consul.PaceEvery},
			{"a small one", func() { consul.PaceArrived(&p, consul.LargeAnswer-1) }, 1, 0},
		} {
			step.do()
			if got := took(step.n); got != step.want {
				t.Errorf("%s: %d queries took %v, want %v", step.name, step.n, got, step.want)
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if consul.PaceWait(&p, ctx) == nil {
			t.Error("no error from an ended context")
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		failures int
		ceiling  time.Duration
	}{
		{1, 50 * time.Millisecond}, {2, 100 * time.Millisecond}, {10, 25600 * time.Millisecond},
		{11, consul.BackoffMax}, {1 << 40, consul.BackoffMax},
	} {
		var most time.Duration
		for range 1000 {
			most = max(most, consul.Backoff(test.failures, consul.BackoffMax))
		}
		if most >= test.ceiling || most < test.ceiling*9/10 {
			t.Errorf("after %d failures at most %v in 1000 draws, want up to %v", test.failures, most, test.ceiling)
		}
	}
}

// TestBackoffKinds checks that an agent which is not there is asked again within
// 1.6 s however long it is away, and that its own errors count from the start.
func TestBackoffKinds(t *testing.T) {
	refused := fmt.Errorf("wrapped: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	most := func(warmUp int, before, err error) time.Duration {
		var most time.Duration
		for range 1000 {
			var f consul.Failures
			for range warmUp {
				consul.FailuresBackoff(&f, before)
			}
			most = max(most, consul.FailuresBackoff(&f, err))
		}
		return most
	}
	for _, test := range []struct {
		name        string
		before, err error
		ceiling     time.Duration
	}{
		{"never there", refused, refused, 1600 * time.Millisecond},
		{"errors for long", reset, reset, consul.BackoffMax},
		{"there again", refused, reset, 50 * time.Millisecond},
		{"gone", reset, refused, 50 * time.Millisecond},
	} {
		if got := most(100, test.before, test.err); got >= test.ceiling || got < test.ceiling*9/10 {
			t.Errorf("%s: at most %v in 1000 draws, want up to %v", test.name, got, test.ceiling)
		}
	}
}
