//go:build !race

package consul_test

const slowdown = 1
