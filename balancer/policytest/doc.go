// Package policytest checks that a [balancer.Policy] keeps the rules of its
// interface, and what it promises beyond them.
//
// One line in a test of your own runs the whole suite, each rule as a subtest:
//
//	func TestMyPolicy(t *testing.T) {
//		policytest.Run(t, NewMyPolicy, policytest.Even())
//	}
//
// The rules are those of [balancer.Policy], [balancer.Picker] and
// [balancer.Observer]: whom a pick may name and whom not, that it neither waits
// nor allocates, that pickers can be used by many goroutines while others are
// made, that nothing which left is kept alive. A failure says which rule is
// broken, what came and what was due.
//
// What only some policies promise is said by a [Promise]: [Even], [Weighted],
// [Sticky], [Consistent]. A policy that leaves some nodes aside on purpose says
// [Selective].
//
// # Limits
//
// The rules about goroutines find a data race only under the race detector, and
// allocations are counted only without it: run the suite both ways.
//
// All but one rule run in a bubble of [testing/synctest], where time stands still
// while something runs. A policy or picker that starts a goroutine and leaves it
// behind fails there: nothing would ever end it.
//
// Shares are judged by a chi-squared test that fails a faultless policy once in a
// million times.
package policytest
