// Package health advises on which endpoints to call: it checks them from outside,
// and ejects those that do worse than their peers.
//
// A [Checker] sends checks of its own to each endpoint, over connections of its
// own, so that a sick one is known before a call finds out, and a recovered one
// without a call that tries. An [Ejector] looks at what became of calls.
//
// Both only advise, by [balancer.Node.Advise]: where fewer than half of a
// service's endpoints are well, their advice is ignored, since it is more likely
// wrong than most of the fleet is sick. Discovery says who exists, and health
// never adds to that.
//
//	mesh, err := fairlead.New(resolver,
//		fairlead.WithHealthCheck(health.Check{Protocol: health.HTTP, Path: "/healthz"}),
//		fairlead.WithOutlierEjection(health.Ejection{}))
//
// # Choosing
//
// A breaker, which every endpoint has, finds out within a few calls that an endpoint
// fails, and after a second that it is well again. Use checks beside it where
// endpoints know better than their answers tell whether they can work, where calls are few, or where not even one
// call may be lost to an endpoint that hangs. Use ejection where an endpoint that was bad should be left alone for
// half a minute and more, or where one that is a little worse than all others, over
// hundreds of calls, should go.
//
// # Limits
//
// Each process checks for itself: a thousand clients send a thousand checks per
// interval to each endpoint. Where that matters, let the registry check.
package health
