package main

import (
	"context"
	"fmt"
	"time"
)

// await waits until done says true.
func await(ctx context.Context, within time.Duration, what string, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no %s within %v", what, within))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
