//go:build race

package policytest

const raceEnabled = true
