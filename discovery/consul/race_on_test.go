//go:build race

package consul_test

// slowdown is how much longer what needs the processor may take.
const slowdown = 5
