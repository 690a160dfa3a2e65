// Package tracing tells what calls did: spans, propagation and metrics, by the
// OpenTelemetry API.
//
// A [Telemetry] opens one INTERNAL span per call and, below it, one CLIENT span
// per attempt, so that a trace shows which endpoint each attempt went to, why,
// and what became of it. The context is injected per attempt. It speaks the
// API alone: whoever wants telemetry installs an SDK, and whoever does not pays
// some nanoseconds and no allocation for a call.
//
//	telemetry, err := tracing.New(tracing.Config{}) // the global providers, once somebody sets them
//	...
//	defer telemetry.Close()
//
//	ctx, call := telemetry.StartCall(ctx, "users", http.MethodGet)
//	ctx, attempt := telemetry.StartAttempt(ctx, &tracing.AttemptInfo{
//		Service: "users", Endpoint: "users-1", Addr: "10.0.0.1:8080", Reason: "p2c", Request: req,
//	})
//	telemetry.Inject(ctx, propagation.HeaderCarrier(header))
//	// headers are here:  attempt.Verdict(...)
//	// body is over:      attempt.End(nil), call.End(...)
//
// # Spans
//
// Attempts follow the semantic conventions (version 1.39) for HTTP clients, or
// those for gRPC clients where there is no HTTP request, with fairlead.endpoint
// and fairlead.pick.reason added. What the caller gave up is not an error; of
// RPCs, all other codes but OK are.
//
// The conventions have one CLIENT span and one duration for an RPC with all its
// retries. Here each attempt has them, as with HTTP, and the INTERNAL span has
// the call as a whole: only so can a span tell which endpoint answered what.
//
// # Metrics
//
//	http.client.request.duration  s          each HTTP attempt, until its headers
//	rpc.client.call.duration      s          each RPC's attempt, until its status: a stream's is the whole stream's
//	fairlead.picks                {pick}     service, endpoint, reason
//	fairlead.attempts             {attempt}  service, endpoint, outcome
//	fairlead.retries              {retry}    service, result
//	fairlead.hedges               {hedge}    service, result: won, lost, failed, budget
//	fairlead.body.errors          {error}    service, endpoint, error.type
//	fairlead.budget               {retry}    service: retries that may be made now
//	fairlead.breaker.state        1          service, endpoint: 0 closed, 1 half-open, 2 open
//	fairlead.endpoints            {endpoint} service, state; ready is told even when it is 0
//	fairlead.snapshot.age         s          service
//
// No label is ever a path, a query or an HTTP method as it was sent. Methods of
// RPCs are told by their names while there are not more than 1000 of them in a
// Telemetry, "_OTHER" after that, with rpc.method_original on the span alone.
//
// # Limits
//
// The global providers count as off until somebody sets them, also for tools
// that attach to OpenTelemetry's unset globals from outside the process. The
// series of endpoints that have left stay in a cumulative SDK until it ends:
// where addresses come and go by the thousand, drop fairlead.endpoint in a view.
package tracing
