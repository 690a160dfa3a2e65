// Package grpcbalancer puts a Mesh under gRPC: each call of a grpc.ClientConn is
// picked over the same nodes, gates and outcomes as the Mesh's HTTP calls.
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
// The policy of the Mesh ([fairlead.WithBalancer]) picks for each call, among the
// endpoints to which the ClientConn has a connection: it connects to all of them,
// and again when a connection is lost. What a policy wants to know of the end
// user travels in the call's context; see package balancer's WithClientIP and
// WithHashKey. Registry changes are followed; an endpoint that leaves finishes
// what is in flight.
//
// # Outcomes
//
// What becomes of a call is told to the endpoint's gates, and so shared with HTTP:
//
//	OK                                        success
//	Unavailable                               failure
//	ResourceExhausted                         overload
//	Unknown, Internal                         suspect: any plain error of a handler is one
//	every other code                          success: an answer, if not the one hoped for
//
// Neutral, since they tell nothing of the endpoint, are calls of which nothing
// was sent, and those that ended because the caller's context or the ClientConn did.
// The verdict comes at the end of the call, and so does the end of its being in
// flight: streams count as long as they last.
//
// # Errors
//
// A call for which there is no endpoint fails at once with codes.Unavailable and
// a text that names the service and the reason: unknown, no endpoints, none
// connected, or all rejected by their breakers. With grpc.WaitForReady it waits.
// Where connections are still coming up for the first time, every call waits.
//
// # Limits
//
// An endpoint that accepts calls and never answers them is found broken only by
// timeouts of the Mesh's own, which do not apply to gRPC yet: a caller's deadline
// is nobody's failure. Beside ready endpoints a half-open one waits up to ten
// seconds for its probe.
//
// The ClientConn reads no service config of the caller's, and no proxy settings.
// Calls are not sent again yet, and the Mesh's timeout, spans and metrics of
// calls are HTTP's alone. [fairlead.Mesh.Shutdown] waits for the calls in flight
// and does not keep new ones from beginning: close the ClientConns before it.
package grpcbalancer
