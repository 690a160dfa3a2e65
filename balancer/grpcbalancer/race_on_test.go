//go:build race

package grpcbalancer

// RaceEnabled: under the race detector a sync.Pool forgets at random.
const RaceEnabled = true
