//go:build race

package fairlead_test

// raceEnabled: under the race detector a sync.Pool forgets at random.
const raceEnabled = true
