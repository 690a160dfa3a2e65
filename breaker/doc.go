// Package breaker keeps calls off an endpoint that is broken, and finds out
// when it works again. The state machine is sony/gobreaker's; what to count, when to
// open and for how long is Fairlead's.
//
// A [Breaker] guards one endpoint, never a service: of four endpoints with a bad
// one, a breaker over all four refuses nearly every call, one for each refuses
// none that another endpoint could have answered.
//
//	b, err := breaker.New(breaker.Config{})
//	...
//	err = b.Do(func() balancer.Outcome {
//		resp, err := http.Get("http://10.0.0.1:8080/")
//		...
//	})
//	if errors.Is(err, breaker.ErrOpen) {
//		// not called
//	}
//
// # When it opens
//
// There are two rules. Down: so many failures in a row. Worse: too small a share
// of successes over a rolling window, and clearly worse than the peers. A [Group]
// makes the breakers of one service's endpoints and knows the peers; a Breaker
// from New has none and goes by the first rule alone. Without the comparison a
// bug that makes every endpoint fail one call in five would open the breakers of
// all of them, and an outage of a fifth would become one of the whole.
//
// The first rule asks for three times the failures where opening would leave
// less than half of the group closed: the fewer are left, the more proof it takes.
// A member that is draining ([Breaker.SetDraining]) is not one of those left.
//
// # How it closes
//
// After the open period, which doubles with each failed probe and when the
// breaker opens again within 20 s of closing, a check in the background (if
// there is one) must succeed before a single live call, the probe, may pass. Its
// success closes the breaker. While no member of a group is closed, its periods
// are at most a second: nobody else can take the calls.
//
// # Calls in flight
//
// A [Limiter] bounds how many calls to a service, and attempts at each of its
// endpoints, are in flight at a time, with a queue for those that find no room.
// It has nothing to do with failures.
//
// # Limits
//
// A probe keeps its place until it is reported, for ten seconds at most. Ended does not know when its call was admitted, so the late ends of
// calls from before an open period count against the closed breaker after it.
package breaker
