// Package fairlead puts the client side of a service mesh inside the caller's
// process: no sidecar, no extra hop, no other process than the registry.
//
// A Resolver says who exists. Health advises and a Gate decides who may be
// called. A Policy says who is called next. A Mesh puts them around every call:
// route, retry, pick, trace, send.
//
//	resolver, err := consul.New(consul.Config{})
//	...
//	mesh, err := fairlead.New(resolver)
//	...
//	defer mesh.Close() // and then resolver.Close()
//
//	client := &http.Client{Transport: mesh}
//	resp, err := client.Get("http://users/v1/42")
//
// The host of a URL, with its port if it has one, is the name of a service:
// http://users/ and http://users:80/ are two.
// Package balancer/grpcbalancer puts the same Mesh under gRPC, and its calls go
// the same way.
//
// # The way of a call
//
//	client.Do ─► Mesh.RoundTrip
//	  1 service   the URL's host names it; an unknown host is a typed error
//	  2 deadline  one over the whole call, if WithTimeout sets one     ┐
//	  3 span      one per call; WithThrottle, WithLimit; the user's    │ once per call
//	              middleware                                           │
//	  4 retry     may it be retried? body replayable? budget? back off ┘
//	  5 pick      the policy chooses, the breaker admits or another is chosen;
//	              WithHedge sends a call that waits too long to one more
//	  6 attempt   a span and the trace context; the user's middleware  ┐ per attempt
//	  7 send      the endpoint's own transport, which dials it whatever the URL says ┘
//	 back         headers ─► one classifier ─► report; the body's end ─► release
//	              WithFallback answers a call that failed in the end
//
// The URL, the Host header and the TLS name stay the service's. One verdict on
// each attempt is read by breaker, retries, cooling, ejection and metrics alike; see
// [Classify]. A call counts as in flight until its answer's body was read to the
// end or closed, so close bodies, as with any http.Client.
//
// # Defaults
//
// New without options picks by power of two choices, has a breaker per endpoint,
// retries what is idempotent once on another endpoint within a budget, and sets
// no deadline: use [WithTimeout] or the contexts of your requests. [WithHealthCheck],
// [WithOutlierEjection], [WithHedge], [WithLimit], [WithThrottle] and [WithFallback]
// are for services that need more. Each of these
// can be chosen for one service with [ForService], and for one call with
// [WithOverride].
//
// # Limits
//
// Pinned transports use no proxy. A request's body is remembered for a retry up
// to 64 KiB unless the request has GetBody; what is larger is sent once. An
// endpoint with an address that is a host name is looked up at each dial. Idle
// connections are bounded per endpoint, and over the Mesh by [WithMaxIdleConns].
package fairlead
