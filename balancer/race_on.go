//go:build race

package balancer

// batchTurns is 1 under the race detector, where a sync.Pool loses what it holds at
// random: the turns of the batches that are lost would be missing in the shares.
const batchTurns = 1
