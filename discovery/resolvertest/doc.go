// Package resolvertest checks that a [discovery.Resolver] keeps the contract of
// its interface: each rule is a subtest, and a failure says which rule was
// broken, what came and what was due.
//
//	func TestContract(t *testing.T) {
//		resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
//			source := newSource(t)
//			return resolvertest.Subject{
//				Resolver: source.resolver(),
//				Set:      source.set,
//				Unknown:  "nobody",
//			}
//		})
//	}
//
// Run it with the race detector: some of the rules are about watches that go on
// at the same time.
//
// # What a source can do
//
// A [Subject] names the Resolver and the means to drive the source behind it.
// What is left out is not tested: without Set the rules of change, without Fail
// those of failure, without Unknown that of unknown names. Run logs which.
//
// # On the way from one set to another
//
// A source need not change all of a set at once, and a Resolver may yield each
// step: some have joined, others are yet to leave, a weight is still the old one.
// But what is in the old set and in the new is in every snapshot in between,
// nothing is that is in neither, and the service is not unknown. So a Resolver
// that empties a set for a moment, before a change or at the end of an error, is
// told by the rules of change and of failure.
//
// # Limits
//
// The rules are checked from outside and with real time, so a test may pass
// that should not, where a fault shows only sometimes. A rule that nothing must
// come is believed after a quarter of Subject.Within, and a rule of change looks
// no further than to the first snapshot that is due. One rule looks at all the
// goroutines of the process: a test that calls Run must not run in parallel with
// others.
package resolvertest
