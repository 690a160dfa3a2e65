package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"time"
)

// mass is what something takes of memory, in bytes.
type mass struct{ heap, stacks float64 }

// hold makes what is to be weighed, and returns its end.
type hold func() (end func(), err error)

// weighings are how often each thing is weighed.
const weighings = 3

// weigh returns the median of what one of n takes.
func weigh(n int, take hold) (mass, error) {
	var heap, stacks []float64
	files, err := openFiles()
	if err != nil {
		return mass{}, err
	}
	for range weighings {
		before := settled()
		end, err := take()
		if err != nil {
			return mass{}, err
		}
		after := settled()
		end()
		if err := closed(files); err != nil {
			return mass{}, err
		}
		released(before.heap + (after.heap-before.heap)/20)
		heap = append(heap, (after.heap-before.heap)/float64(n))
		stacks = append(stacks, (after.stacks-before.stacks)/float64(n))
	}
	return mass{median(heap), median(stacks)}, nil
}

// released waits until no more than so much is in use, for as long as it is worth it:
// some let go a while after they were closed.
func released(heap float64) {
	for deadline := time.Now().Add(2 * time.Second); inUse().heap > heap && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
}

// settled is what is in use when that changes no more: goroutines of what was closed
// take a while to end.
func settled() mass {
	last := inUse()
	for range 100 {
		time.Sleep(10 * time.Millisecond)
		now := inUse()
		if math.Abs(now.heap-last.heap) < 1<<14 {
			return now
		}
		last = now
	}
	return last
}

// inUse is what the process has in use when the garbage is out: what has a finalizer
// goes in the second round.
func inUse() mass {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return mass{float64(m.HeapAlloc), float64(m.StackInuse)}
}

// connecting calls, each endpoint twice at least where they take turns, until n
// connections are open, but for a few that may stand for some closed meanwhile.
func connecting(n int, open func() (call func() error, end func(), err error)) hold {
	return func() (func(), error) {
		before, err := openFiles()
		if err != nil {
			return nil, err
		}
		call, end, err := open()
		if err != nil {
			return nil, err
		}
		if err := callUntil(before+n-n/100, 2*n, call); err != nil {
			end()
			return nil, err
		}
		return end, nil
	}
}

// callUntil makes so many calls, and more until so many descriptors are open.
func callUntil(files, calls int, call func() error) error {
	for deadline := time.Now().Add(patience); ; {
		for range calls {
			if err := call(); err != nil {
				return err
			}
		}
		n, err := openFiles()
		if err != nil || n >= files {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d descriptors are open, want %d", n, files)
		}
	}
}

// closed waits until no more files are open than there were.
func closed(files int) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		n, err := openFiles()
		if err != nil || n <= files {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d descriptors are open where there were %d", n, files)
		}
	}
}

// openFiles is how many descriptors the process has, connections among them.
func openFiles() (int, error) {
	files, err := os.ReadDir("/proc/self/fd")
	return len(files), err
}
