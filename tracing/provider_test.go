package tracing_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/fairlead-go/fairlead/tracing"
)

func setTracerProvider(t testing.TB, provider trace.TracerProvider) {
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(before) })
}

func setMeterProvider(t testing.TB, provider metric.MeterProvider) {
	before := otel.GetMeterProvider()
	otel.SetMeterProvider(provider)
	t.Cleanup(func() { otel.SetMeterProvider(before) })
}

// wholeCall makes one call of HTTP with one attempt.
func wholeCall(ctx context.Context, telemetry *tracing.Telemetry, info *tracing.AttemptInfo, carrier propagation.TextMapCarrier) {
	ctx, call := telemetry.StartCall(ctx, info.Service, info.Request.Method)
	ctx, attempt := telemetry.StartAttempt(ctx, info)
	telemetry.Inject(ctx, carrier)
	attempt.Verdict(tracing.Verdict{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Outcome: success})
	attempt.End(nil)
	call.End(tracing.CallResult{Attempts: 1, StatusCode: 200, Outcome: success})
}

func TestOffAllocatesNothing(t *testing.T) {
	configs := map[string]tracing.Config{
		"nothing set": {},
		"no-op":       {TracerProvider: nooptrace.NewTracerProvider(), MeterProvider: noopmetric.NewMeterProvider()},
		"the unset globals, given": {
			TracerProvider: otel.GetTracerProvider(),
			MeterProvider:  otel.GetMeterProvider(),
			Propagator:     otel.GetTextMapPropagator(),
		},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			telemetry, info, carrier := newTelemetry(t, cfg), usersInfo(t), propagation.HeaderCarrier{}
			ctx := t.Context()
			allocs := testing.AllocsPerRun(100, func() {
				wholeCall(ctx, telemetry, info, carrier)
				telemetry.Retry(ctx, "users", "sent")
			})
			if allocs != 0 {
				t.Errorf("%v allocations, want 0", allocs)
			}
			lazily := &lazy{}
			ok, failed := &tracing.Verdict{Outcome: success}, &tracing.Verdict{StatusCode: 14, Err: errRefused, Outcome: failure}
			allocs = testing.AllocsPerRun(100, func() {
				wholeRPC(ctx, telemetry, lazily, ok)
				wholeRPC(ctx, telemetry, lazily, failed)
			})
			if allocs != 0 || lazily.metadata != nil {
				t.Errorf("%v allocations of RPCs and %v, want nothing", allocs, lazily.metadata)
			}
			if len(carrier) != 0 {
				t.Errorf("injected %v", carrier)
			}
		})
	}
}

func TestOffReturnsTheContext(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{})
	ctx := t.Context()
	callCtx, call := telemetry.StartCall(ctx, "users", http.MethodGet)
	attemptCtx, _ := telemetry.StartAttempt(callCtx, usersInfo(t))
	if callCtx != ctx || attemptCtx != ctx || call.Enabled() {
		t.Errorf("a context of its own, or Enabled() = %v, while tracing is off", call.Enabled())
	}
}

func TestZeroValuesDoNothing(*testing.T) {
	var call tracing.Call
	call.End(tracing.CallResult{Err: errRefused})
	var attempt tracing.Attempt
	attempt.Verdict(tracing.Verdict{Err: errRefused})
	attempt.End(errRefused)
}

func TestGlobalSetLaterCounts(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{})
	wholeCall(t.Context(), telemetry, usersInfo(t), propagation.HeaderCarrier{})

	// The second replaces the first, as a program that is configured anew does.
	for range 2 {
		spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
		setTracerProvider(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
		setMeterProvider(t, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		wholeCall(t.Context(), telemetry, usersInfo(t), propagation.HeaderCarrier{})
		if n := len(spans.Ended()); n != 2 {
			t.Errorf("%d spans, want 2", n)
		}
		if picks := points(t, reader, "fairlead.picks"); len(picks) != 1 {
			t.Errorf("picks %v, want one series", picks)
		}
	}

	setTracerProvider(t, nooptrace.NewTracerProvider())
	if _, call := telemetry.StartCall(t.Context(), "users", http.MethodGet); call.Enabled() {
		t.Error("on after the global became a no-op")
	}
}

// Whoever asks beforehand whether anybody listens is told of all changes, and so are the
// gauges: back to a provider that was there before, too.
func TestOffFollowsTheGlobals(t *testing.T) {
	silent := noopmetric.NewMeterProvider()
	setMeterProvider(t, silent)
	setTracerProvider(t, nooptrace.NewTracerProvider())
	telemetry := newTelemetry(t, tracing.Config{})
	if err := telemetry.Observe(usersState); err != nil {
		t.Fatal(err)
	}
	off := func(want bool) {
		t.Helper()
		for range 2 { // the second time by what the first has found
			if got := telemetry.Off(); got != want {
				t.Errorf("Off is %v, want %v", got, want)
			}
		}
	}
	off(true)
	for range 2 {
		reader := sdkmetric.NewManualReader()
		otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		off(false)
		if budget := points(t, reader, "fairlead.budget"); len(budget) != 1 {
			t.Errorf("budget %v, want one series", budget)
		}
		otel.SetMeterProvider(silent)
		off(true)
		if budget := points(t, reader, "fairlead.budget"); len(budget) != 0 {
			t.Errorf("budget %v: the gauges are still those of a provider that was replaced", budget)
		}
	}
	otel.SetTracerProvider(sdktrace.NewTracerProvider())
	off(false)
	otel.SetTracerProvider(nooptrace.NewTracerProvider())
	off(true)
	if n := testing.AllocsPerRun(100, func() { telemetry.Off() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A provider that cannot be compared must not make the comparison panic.
type incomparable struct {
	trace.TracerProvider
	_ []int
}

func TestGlobalThatCannotBeCompared(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	setTracerProvider(t, incomparable{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))})
	telemetry := newTelemetry(t, tracing.Config{MeterProvider: noopmetric.NewMeterProvider()})
	for range 3 {
		wholeCall(t.Context(), telemetry, usersInfo(t), propagation.HeaderCarrier{})
	}
	if n := len(spans.Ended()); n != 6 {
		t.Errorf("%d spans, want 6", n)
	}
}

// meanwhile has four callers do something again and again, until stop has returned.
func meanwhile(do func()) (stop func()) {
	var callers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					do()
				}
			}
		})
	}
	return func() {
		close(done)
		callers.Wait()
	}
}

func TestGlobalReplacedWhileCallsAreMade(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{})
	if err := telemetry.Observe(usersState); err != nil {
		t.Fatal(err)
	}
	info := usersInfo(t)
	stop := meanwhile(func() { wholeCall(context.Background(), telemetry, info, propagation.HeaderCarrier{}) })
	var reader *sdkmetric.ManualReader
	for range 20 {
		reader = sdkmetric.NewManualReader()
		setMeterProvider(t, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		setTracerProvider(t, sdktrace.NewTracerProvider())
		points(t, reader, "fairlead.budget")
	}
	stop()
	telemetry.Retry(t.Context(), "users", "sent")
	if budget := points(t, reader, "fairlead.budget"); len(budget) != 1 {
		t.Errorf("budget %v: the gauges did not follow the last provider", budget)
	}
}

// Whatever is set while it is asked, the last word counts.
func TestOffIsOfTheProvidersInForce(t *testing.T) {
	telemetry := newTelemetry(t, tracing.Config{MeterProvider: noopmetric.NewMeterProvider()})
	on, off := sdktrace.NewTracerProvider(), nooptrace.NewTracerProvider()
	setTracerProvider(t, on)
	stop := meanwhile(func() { telemetry.Off() })
	for range 20_000 {
		otel.SetTracerProvider(off)
		otel.SetTracerProvider(on)
		if telemetry.Off() {
			t.Error("off while spans are wanted")
			break
		}
	}
	stop()
}

// The globals can be set once only in a process' life, so this one has its own.
func TestGaugesOfAGlobalSetLater(t *testing.T) {
	const inside = "FAIRLEAD_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestGaugesOfAGlobalSetLater$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	telemetry := newTelemetry(t, tracing.Config{})
	if err := telemetry.Observe(usersState); err != nil {
		t.Fatal(err)
	}
	reader := sdkmetric.NewManualReader()
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	for _, when := range []string{"before the first call", "after it"} {
		if got := points(t, reader, "fairlead.endpoints")["fairlead.service=users,fairlead.state=ready"]; got != 2 {
			t.Errorf("%s: %v endpoints are ready, want 2", when, got)
		}
		telemetry.Retry(t.Context(), "users", "sent")
	}
}
