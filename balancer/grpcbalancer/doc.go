// Package grpcbalancer puts a Mesh under gRPC: the calls of a grpc.ClientConn are
// picked over the same nodes, pass the same gates and draw on the same retry
// budget as the Mesh's HTTP calls, and one watch of the registry serves both.
//
//	mesh, err := fairlead.New(resolver)
//	...
//	conn, err := grpc.NewClient("fairlead:///users",
//		append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(creds))...)
//	...
//	client := userspb.NewUsersClient(conn)
//
// The name after the three slashes is the name of a service, with its port if it
// has one. It is the authority of every call and, with TLS, the name that the
// endpoints' certificates must bear; WithAuthority changes both.
//
// The policy of the service ([fairlead.WithBalancer]) picks for each call, among
// the endpoints to which the ClientConn has a connection: it connects to all of
// them, and again when a connection is lost. What a policy wants to know of the
// end user travels in the call's context; see package balancer's WithClientIP and
// WithHashKey. So do overrides: [fairlead.WithOverride]. Registry changes are
// followed; an endpoint that leaves finishes what is in flight. A ClientConn in
// idle mode connects to nobody and holds no watch of its own.
//
// # The way of a call
//
//	client.Get ─► interceptor of DialOptions
//	  1 deadline  WithTimeout, for unary calls                    ┐
//	  2 span      INTERNAL, one per call; WithThrottle, WithLimit │ once per call
//	  3 retry     may it be repeated? budget left? back off       ┘
//	  4 pick      the policy chooses, the breaker admits          ┐
//	  5 attempt   a CLIENT span, the trace context in metadata    │ per attempt, of
//	  6 send      over gRPC's connection to that endpoint         ┘ WithHedge too
//	 back         first response or status ─► report; the end ─► release
//
// Interceptors that stand before the options of DialOptions are around the call
// (1 to 6), those that stand after them around what gRPC is asked for each time
// (4 to 6). [fairlead.WithMiddleware] and the other options about HTTP transports
// and classifiers do not apply, nor does otelgrpc have to be there.
//
// # What is sent again
//
// A unary call, if it may be repeated: its method says so by protobuf's option
// idempotency_level (NO_SIDE_EFFECTS or IDEMPOTENT, in a definition that the
// program links), or retry.Config's Safe does, which sees a POST to the path
// "/pkg.Service/Method", or the call's context by [fairlead.WithOverride]. A call of
// which nothing was sent for want of a connection is sent again whatever its
// method. It goes to another endpoint while one is ready, in at most
// retry.Config's Attempts attempts, within the service's budget and the call's
// deadline, after Unavailable, ResourceExhausted, or the Mesh's own attempt
// timeout. A server can forbid it or have it wait, by the trailer
// grpc-retry-pushback-ms of gRFC A6, in which case what is said of Retry-After for
// HTTP holds.
//
// A stream of responses to one request may be opened again, and its request sent
// again, by the same rules until its first response. Other streams are opened
// again only where opening fails at once. No stream is replayed.
//
// With [fairlead.WithHedge], a unary call that may be repeated and has waited for too
// long is sent once more beside the first attempt. Interceptors after ours are then run
// by two goroutines at a time, and the one that came too late may still run when the
// call is over; its request is a copy.
//
// A call that finds no room under [fairlead.WithLimit] is codes.ResourceExhausted with
// breaker.ErrLimit in its chain, one that [fairlead.WithThrottle] refuses
// codes.Unavailable with retry.ErrThrottled.
//
// gRPC itself sends again, once, what the server says it did not process (a
// connection that is going away). That is an attempt like the others, on another
// endpoint, but costs no budget. Its retries by service config are out of use: the
// ClientConn reads no service config of the caller's. A retrying interceptor of
// the caller's own needs [fairlead.WithoutRetry], or each retries the other.
//
// # Time
//
// [fairlead.WithTimeout] bounds a unary call. The attempt timeout (retry.Config,
// [fairlead.Override]) bounds each attempt of one, from the pick to its end. Both
// are codes.DeadlineExceeded and the endpoint's failure, where the end of the
// caller's own context is nobody's: set one, or an endpoint that accepts calls and
// never answers them is not found broken. Streams last as long as their context.
//
// # Outcomes
//
// What becomes of an attempt is told to the endpoint's gates, and so shared with HTTP:
//
//	OK                                        success
//	Unavailable                               failure
//	Unavailable with a positive pushback      overload, and the endpoint cools for so long
//	ResourceExhausted                         overload
//	Unknown, Internal                         suspect: any plain error of a handler is one
//	DeadlineExceeded by a time limit of ours  failure
//	every other code                          success: an answer, if not the one hoped for
//
// Neutral, since they tell nothing of the endpoint, are attempts of which nothing
// was sent, requests too large to be sent, and those that ended because the
// caller's context or the ClientConn did.
// The verdict on a stream comes with its first response, or its status where there
// is none; one that breaks off with Unavailable after that is one more failure. In
// flight it is until its end. As gRPC demands, read a stream to its end or cancel
// its context.
//
// # Errors
//
// What a server says reaches the caller as it is, that of the last attempt. A call
// for which there is no endpoint fails at once with codes.Unavailable and a
// [fairlead.CallError] in its chain that names the service and the reason: unknown, no
// endpoints, none connected, or all rejected by their breakers; errors.Is finds
// balancer.ErrNoEndpoints and the others. With grpc.WaitForReady it waits. While a
// connection is coming up that has not failed since it was last there, every call
// waits. What the
// budget did not pay for has retry.ErrBudget beside the server's status.
//
// # Limits
//
// Beside ready endpoints a half-open one gets its probe from a unary call that may
// be repeated, or, after ten seconds without one, from any call. The
// ClientConn uses no proxy. gRPC's pings of quiet connections are off unless
// grpc.WithKeepaliveParams asks for them, since servers refuse them by default:
// a host that vanishes without a word is found by calls that fail. An endpoint that
// left an attempt without an answer proves itself over a new connection. What gRPC does
// not tell apart is taken for the more likely: a response beyond the caller's own
// MaxCallRecvMsgSize for the endpoint's ResourceExhausted, a refused stream for
// any other Unavailable.
//
// A call that waits for a service of which the resolver has never heard is bounded
// by its own context alone.
//
// A [fairlead.Override] that names an endpoint is judged by that endpoint's
// connection alone: its call waits for it, or fails, whatever the others do.
//
// [fairlead.Mesh.Shutdown] lets no new calls begin and waits for those in flight,
// streams too. [fairlead.Mesh.Close] fails new calls and leaves those in flight to
// their connections: close the ClientConns to break them off.
package grpcbalancer
