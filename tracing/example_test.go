package tracing_test

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

// A call that was answered by the second endpoint it was sent to.
func Example() {
	spans := tracetest.NewSpanRecorder()
	telemetry, err := tracing.New(tracing.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer telemetry.Close()

	req, err := http.NewRequest(http.MethodGet, "http://users/v1/42", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	callCtx, call := telemetry.StartCall(context.Background(), "users", req.Method)
	for resend, status := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		ctx, attempt := telemetry.StartAttempt(callCtx, &tracing.AttemptInfo{
			Service:  "users",
			Endpoint: fmt.Sprintf("users-%d", resend+1),
			Addr:     fmt.Sprintf("10.0.0.%d:8080", resend+1),
			Reason:   "p2c",
			Resend:   resend,
			Request:  req,
		})
		header := http.Header{} // of the clone that is sent: a request is never changed
		telemetry.Inject(ctx, propagation.HeaderCarrier(header))

		outcome := balancer.Outcome{Verdict: balancer.Success}
		if status >= 500 {
			outcome.Verdict = balancer.Failure
		}
		attempt.Verdict(tracing.Verdict{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Outcome: outcome})
		attempt.End(nil) // the body is over
	}
	call.End(tracing.CallResult{Attempts: 2, StatusCode: http.StatusOK, Outcome: balancer.Outcome{Verdict: balancer.Success}})

	for _, span := range spans.Ended() {
		fmt.Println(span.SpanKind(), span.Name(), attributes(span)["fairlead.endpoint"], span.Status().Code)
	}
	// Output:
	// client GET users-1 Error
	// client GET users-2 Unset
	// internal GET users  Unset
}
