// Package balancer decides which endpoint of a service the next call goes to.
//
// A [Balancer] holds one [Node] for each endpoint that discovery names: what is
// in flight there, how often it was picked, what its gates think of it. A node
// lives through every update that still names its endpoint, so nothing that was
// learned is lost. Around the nodes stand four small parts:
//
//	Update ─► Balancer ── readiness ──► Policy.NewPicker ─► Picker      off the calls' path
//	Pick   ─► Picker.Pick ─► Gate.Allow ─► Lease ─► Report ─► Release   on it
//
// A [Policy] makes a [Picker] whenever members, weights or readiness change. A
// Picker only chooses: a policy of your own is a few lines. Package
// balancer/policytest tests whether it keeps the rules.
//
// A [Gate] is law: it admits a call or refuses it, and is told the [Outcome] of
// each call it admitted exactly once. A node whose gate refuses is no candidate.
// A half-open one is handed one call at a time, and only a call that can be
// retried elsewhere, unless no other node is ready or ten seconds have passed.
//
// Cooling is advice: an endpoint that asks to be left alone (Outcome.Cool), or
// that answers overload clearly more often than its peers, is no candidate for a
// while. Advice is ignored while fewer than half of the nodes are well, or where
// it would leave no node to call.
//
// A [Lease] is one admitted call. It has two ends: Report when the verdict is
// known, Release when the work is over, which for a long answer is much later.
//
// The package has no goroutine of its own (timers aside), speaks no protocol and
// depends on the standard library only. Gates aside, a pick takes no lock and allocates
// nothing.
//
// # Choosing
//
//	policy                  use it when
//	P2C                     you have no reason for another: it keeps off busy endpoints at any size
//	PeakEWMA                some endpoints are slower than others, now and then or always, and waiting is what hurts
//	RoundRobin              endpoints and calls are all alike, and evenness is worth more than load
//	WeightedRoundRobin      endpoints differ in size and their weights say so
//	LeastConn               calls differ much in length, and there are at most about 50 endpoints
//	Random                  many clients, and nothing may be shared between them, not even a pattern
//	IPHash                  a user should meet the same endpoint again, for its cache or its session
//	IPHash(NginxHash)       the same, and an nginx beside you has to agree
//
// # Limits
//
// A picker is built for all members at once. Builds that follow one another
// closely are merged: a change of readiness takes effect at once for the calls
// that would have gone there, and within a second at most for those that could
// go there again.
//
// Load is what this process sees. Many clients with few calls each know little of
// an endpoint's load, whatever the policy.
package balancer
