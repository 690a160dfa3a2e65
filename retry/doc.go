// Package retry decides whether a failed call is sent again, and when.
//
// It knows four things: which calls are safe to repeat, how long to wait, how
// many attempts a call may have, and how many retries a service can bear. It
// sends nothing itself and knows no protocol: a [Policy] belongs to a service,
// a [Call] to one call, and Next is asked after each attempt.
//
//	policy, err := retry.New(retry.Config{Attempts: 3})
//	...
//	call := policy.Begin(retry.Idempotent(method))
//	for {
//		outcome := attempt()
//		next := call.Next(outcome, retry.Situation{Replayable: true, Others: true})
//		if !next.Again {
//			break
//		}
//		wait(ctx, next.Wait)
//	}
//
// # What is sent again
//
// A call whose method is idempotent (RFC 9110, section 9.2.2), or that the
// configuration or the caller says is safe, when its outcome says that another
// attempt may help. Any call at all when its endpoint provably did not act on it.
//
// # The budget
//
// Retries may add a fixed share to the calls of a service, not more: when a whole
// service is failing, retries of everything would multiply the load on it. The
// budget is asked when a retry is decided, before its back-off.
//
// # Hedges
//
// A [Hedger] measures how long nearly all calls of a service take, so that one
// that takes longer can be sent once more, elsewhere, before it has failed. The
// same budget pays.
package retry
