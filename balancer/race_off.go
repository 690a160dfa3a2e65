//go:build !race

package balancer

// batchTurns is how many turns a core takes at once.
const batchTurns = 16
