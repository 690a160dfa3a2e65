package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// usage is what the process holds.
type usage struct{ Goroutines, Connections, Descriptors int }

func measure() usage {
	u := usage{Goroutines: runtime.NumGoroutine()}
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return u
	}
	u.Descriptors = len(entries)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			u.Connections++
		}
	}
	return u
}

// over is what u has more than before.
func (u usage) over(before usage) usage {
	return usage{
		Goroutines:  max(0, u.Goroutines-before.Goroutines),
		Connections: max(0, u.Connections-before.Connections),
		Descriptors: max(0, u.Descriptors-before.Descriptors),
	}
}

// leftOver waits until nothing is left, for a while, and returns what is.
func leftOver(before usage, within time.Duration) usage {
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		left := measure().over(before)
		if left == (usage{}) || time.Now().After(deadline) {
			return left
		}
	}
}
