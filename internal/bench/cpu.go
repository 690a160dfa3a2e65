package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what the process has spent so far, on all cores, the garbage collector
// included.
func cpuTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // no such clock: nothing can be measured
	}
	return time.Duration(t.Nano())
}
