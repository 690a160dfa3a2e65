//go:build !race

package grpcbalancer

const RaceEnabled = false
