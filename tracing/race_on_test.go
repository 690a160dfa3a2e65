//go:build race

package tracing_test

// raceEnabled: under the race detector a sync.Pool forgets at random.
const raceEnabled = true
