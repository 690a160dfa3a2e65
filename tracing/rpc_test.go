package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/tracing"
)

// How many methods are told by their names.
const methodLimit = 1000

func rpcInfo() *tracing.AttemptInfo {
	return &tracing.AttemptInfo{
		Service:  "users",
		Endpoint: "users-1",
		Addr:     "10.0.0.1:8080",
		Reason:   "p2c",
		Method:   "/pkg.Users/Get",
	}
}

func TestRPCAttemptSpan(t *testing.T) {
	overload := balancer.Outcome{Verdict: balancer.Overload}
	tests := []struct {
		name    string
		change  func(*tracing.AttemptInfo)
		verdict tracing.Verdict
		span    string            // "" means pkg.Users/Get
		attrs   map[string]string // changes to those of a plain RPC; "" means absent
		status  codes.Code
	}{
		{
			name:    "OK",
			verdict: tracing.Verdict{Outcome: success},
		},
		{
			name:    "OK by the server, without a good end",
			verdict: tracing.Verdict{Err: errRefused, Outcome: failure},
			attrs:   map[string]string{"rpc.response.status_code": "", "error.type": "_OTHER", "fairlead.outcome": "failure"},
			status:  codes.Error,
		},
		{
			name: "sent again",
			change: func(info *tracing.AttemptInfo) {
				info.Service, info.Addr, info.Resend = "users:8080", "[2001:db8::1]:9443", 2
			},
			verdict: tracing.Verdict{StatusCode: 8, Err: errRefused, Outcome: overload},
			attrs: map[string]string{
				"rpc.response.status_code": "RESOURCE_EXHAUSTED", "error.type": "RESOURCE_EXHAUSTED", "server.port": "8080",
				"network.peer.address": "2001:db8::1", "network.peer.port": "9443", "fairlead.outcome": "overload", "fairlead.resend_count": "2",
			},
			status: codes.Error,
		},
		{
			name:    "wrong request", // no failure of the endpoint's, but the conventions want all codes but OK as errors
			verdict: tracing.Verdict{StatusCode: 5, Err: errRefused, Outcome: success},
			attrs:   map[string]string{"rpc.response.status_code": "NOT_FOUND", "error.type": "NOT_FOUND"},
			status:  codes.Error,
		},
		{
			name:    "our own time limit",
			verdict: tracing.Verdict{StatusCode: 4, Err: context.DeadlineExceeded, Outcome: failure},
			attrs: map[string]string{
				"rpc.response.status_code": "DEADLINE_EXCEEDED", "error.type": "DEADLINE_EXCEEDED", "fairlead.outcome": "failure",
			},
			status: codes.Error,
		},
		{
			name:    "the caller left",
			verdict: tracing.Verdict{StatusCode: 1, Err: context.Canceled, Outcome: neutral},
			attrs:   map[string]string{"rpc.response.status_code": "CANCELLED", "fairlead.outcome": "neutral"},
		},
		{
			name:    "the caller's deadline",
			verdict: tracing.Verdict{StatusCode: 4, Err: context.DeadlineExceeded, Outcome: neutral},
			attrs:   map[string]string{"rpc.response.status_code": "DEADLINE_EXCEEDED", "fairlead.outcome": "neutral"},
		},
		{
			name:    "cancelled by the server",
			verdict: tracing.Verdict{StatusCode: 1, Err: errRefused, Outcome: success},
			attrs:   map[string]string{"rpc.response.status_code": "CANCELLED", "error.type": "CANCELLED"},
			status:  codes.Error,
		},
		{
			name:    "code that gRPC does not have",
			verdict: tracing.Verdict{StatusCode: 4711, Err: errRefused, Outcome: success},
			attrs:   map[string]string{"rpc.response.status_code": "UNKNOWN", "error.type": "UNKNOWN"},
			status:  codes.Error,
		},
		{
			name:    "method that cannot be one",
			change:  func(info *tracing.AttemptInfo) { info.Method = "/no\xffmethod" },
			verdict: tracing.Verdict{StatusCode: 12, Err: errRefused, Outcome: success},
			span:    "grpc",
			attrs: map[string]string{
				"rpc.method": "_OTHER", "rpc.method_original": "no\uFFFDmethod",
				"rpc.response.status_code": "UNIMPLEMENTED", "error.type": "UNIMPLEMENTED",
			},
			status: codes.Error,
		},
		{
			name:    "no method",
			change:  func(info *tracing.AttemptInfo) { info.Method = "" },
			verdict: tracing.Verdict{Outcome: success},
			span:    "grpc",
			attrs:   map[string]string{"rpc.method": "_OTHER"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := rpcInfo()
			if tt.change != nil {
				tt.change(info)
			}
			span := newRig(t).attempt(t, info, tt.verdict)
			if diff := cmp.Diff(changedRPC(tt.attrs), attributes(span)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			name := tt.span
			if name == "" {
				name = "pkg.Users/Get"
			}
			if span.Name() != name || span.Status().Code != tt.status {
				t.Errorf("span %q with status %v, want %q with %v", span.Name(), span.Status(), name, tt.status)
			}
		})
	}
}

// changedRPC returns the attributes of a plain RPC with some of them changed.
func changedRPC(changes map[string]string) map[string]string {
	attrs := map[string]string{
		"rpc.system.name":          "grpc",
		"rpc.method":               "pkg.Users/Get",
		"rpc.response.status_code": "OK",
		"server.address":           "users",
		"network.peer.address":     "10.0.0.1",
		"network.peer.port":        "8080",
		"fairlead.endpoint":        "users-1",
		"fairlead.pick.reason":     "p2c",
	}
	for key, value := range changes {
		attrs[key] = value
		if value == "" {
			delete(attrs, key)
		}
	}
	return attrs
}

func TestSamplerSeesTheAttributesOfRPC(t *testing.T) {
	r := newRig(t)
	_, a := r.StartAttempt(t.Context(), rpcInfo())
	defer a.End(nil)
	want := changedRPC(map[string]string{"rpc.response.status_code": ""})
	if diff := cmp.Diff(want, attributes(r.spans.Started()[0])); diff != "" {
		t.Errorf("attributes at the start (-want +got):\n%s", diff)
	}
}

// A cause of the caller's own is no sign that it left: its context is.
func TestRPCWhoseCallerLeftWithACause(t *testing.T) {
	r := newRig(t)
	left, leave := context.WithCancelCause(t.Context())
	_, a := r.StartAttempt(left, rpcInfo())
	leave(errRefused)
	a.Verdict(tracing.Verdict{StatusCode: 14, Err: errRefused, Outcome: neutral})
	a.End(nil)
	span := r.span(t, trace.SpanKindClient)
	want := changedRPC(map[string]string{"rpc.response.status_code": "UNAVAILABLE", "fairlead.outcome": "neutral"})
	if diff := cmp.Diff(want, attributes(span)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if status := span.Status(); status.Code != codes.Unset {
		t.Errorf("status %v", status)
	}
}

func TestRPCMetrics(t *testing.T) {
	r := newRig(t)
	for _, v := range []tracing.Verdict{
		{Outcome: success},
		{Outcome: success},
		{StatusCode: 14, Err: errRefused, Outcome: failure},
		{StatusCode: 1, Err: context.Canceled, Outcome: neutral},
	} {
		info := rpcInfo()
		info.Service = "users:8080"
		_, a := r.StartAttempt(t.Context(), info)
		a.Verdict(v)
		a.Verdict(tracing.Verdict{StatusCode: 13, Outcome: failure}) // too late
		a.End(nil)
	}
	const (
		method = "rpc.method=pkg.Users/Get,rpc.response.status_code="
		server = ",rpc.system.name=grpc,server.address=users,server.port=8080"
	)
	want := map[string]float64{
		method + "OK" + server:                                      2,
		method + "CANCELLED" + server:                               1,
		"error.type=UNAVAILABLE," + method + "UNAVAILABLE" + server: 1,
	}
	if diff := cmp.Diff(want, points(t, r.reader, "rpc.client.call.duration")); diff != "" {
		t.Errorf("rpc.client.call.duration (-want +got):\n%s", diff)
	}
	if series := points(t, r.reader, "http.client.request.duration"); len(series) != 0 {
		t.Errorf("http.client.request.duration %v", series)
	}
	if series := points(t, r.reader, "fairlead.attempts"); len(series) != 3 {
		t.Errorf("fairlead.attempts %v, want one series for each outcome", series)
	}
}

func TestHTTPHasNoRPCMetric(t *testing.T) {
	r := newRig(t)
	r.attempt(t, usersInfo(t), tracing.Verdict{StatusCode: 200, Outcome: success})
	if series := points(t, r.reader, "rpc.client.call.duration"); len(series) != 0 {
		t.Errorf("rpc.client.call.duration %v", series)
	}
}

// The duration of a stream is that of its span, as the conventions want it.
func TestStreamDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, a := r.StartAttempt(t.Context(), rpcInfo())
		time.Sleep(time.Minute)
		a.Verdict(tracing.Verdict{Outcome: success})
		a.End(nil)
		span := r.span(t, trace.SpanKindClient)
		if d := span.EndTime().Sub(span.StartTime()); d != time.Minute {
			t.Errorf("the span took %v, want a minute", d)
		}
		if sum := durationSum(t, r, "rpc.client.call.duration"); sum != 60 {
			t.Errorf("rpc.client.call.duration is %v s, want 60", sum)
		}
	})
}

func durationSum(t *testing.T, r *rig, name string) (sum float64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		if m.Name != name {
			continue
		}
		for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			sum += p.Sum
		}
	}
	return sum
}

// What is not sent at all, as where gRPC's connection was not ready, has no verdict.
func TestRPCWithoutVerdictIsNotMeasured(t *testing.T) {
	r := newRig(t)
	_, a := r.StartAttempt(t.Context(), rpcInfo())
	a.End(nil)
	if series := points(t, r.reader, "rpc.client.call.duration"); len(series) != 0 {
		t.Errorf("rpc.client.call.duration %v", series)
	}
	if status := r.span(t, trace.SpanKindClient).Status(); status.Code != codes.Unset {
		t.Errorf("status %v", status)
	}
}

// A proxy may be asked for any method, and a server may answer any code.
func TestRPCLabelsAreBounded(t *testing.T) {
	r := newRig(t)
	rpc := func(method string, code int) {
		info := rpcInfo()
		info.Method = method
		ctx, call := r.StartCall(t.Context(), "users", method)
		_, a := r.StartAttempt(ctx, info)
		v := tracing.Verdict{StatusCode: code, Outcome: success}
		if code != 0 {
			v.Err = fmt.Errorf("error %d", code)
		}
		a.Verdict(v)
		a.End(nil)
		call.End(tracing.CallResult{Attempts: 1, StatusCode: code, Err: v.Err, Outcome: success})
	}
	for _, method := range []string{"/", "//", "//x", "/x", "/x/", "/\xff/x", "/x/" + strings.Repeat("x", 300)} {
		rpc(method, 0)
	}
	for i := range 2 * methodLimit {
		rpc(fmt.Sprintf("/pkg.Users/M%d", i), 0)
	}
	for i := range 100 {
		rpc("/pkg.Users/M0", 17+i)
	}
	rpc("/pkg.Users/M0", -1)

	durations := points(t, r.reader, "rpc.client.call.duration")
	if want := methodLimit + 2; len(durations) != want {
		t.Errorf("%d series, want %d: the methods with OK, all others with OK, and UNKNOWN", len(durations), want)
	}
	const rest = ",rpc.system.name=grpc,server.address=users"
	for series, want := range map[string]float64{
		"rpc.method=pkg.Users/M0,rpc.response.status_code=OK" + rest:                         1,
		"rpc.method=pkg.Users/M999,rpc.response.status_code=OK" + rest:                       1,
		"rpc.method=_OTHER,rpc.response.status_code=OK" + rest:                               methodLimit + 7,
		"error.type=UNKNOWN,rpc.method=pkg.Users/M0,rpc.response.status_code=UNKNOWN" + rest: 101,
	} {
		if got := durations[series]; got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}

	names, originals := map[string]bool{}, map[string]bool{}
	for _, span := range r.spans.Ended() {
		names[span.Name()] = true
		if original := attributes(span)["rpc.method_original"]; original != "" {
			originals[original] = true
		}
	}
	if want := 2 * (methodLimit + 1); len(names) != want || !names["grpc"] || !names["grpc users"] {
		t.Errorf("%d names of spans, want %d with grpc among them", len(names), want)
	}
	if !originals["pkg.Users/M1000"] || originals["pkg.Users/M999"] {
		t.Error("a span tells the original method where it has no name of its own, and only there")
	}
}

// Those that meet new methods at once agree on what each is told as, and do not
// exceed the bound together.
func TestRPCMethodsThatComeAtOnce(t *testing.T) {
	r := newRig(t)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := range methodLimit / 2 {
				info := rpcInfo()
				info.Method = fmt.Sprintf("/pkg.Users/M%d", n+i/2*methodLimit/2)
				_, a := r.StartAttempt(context.Background(), info)
				a.Verdict(tracing.Verdict{Outcome: success})
				a.End(nil)
			}
		})
	}
	callers.Wait()
	durations := points(t, r.reader, "rpc.client.call.duration")
	if want := methodLimit + 1; len(durations) != want {
		t.Errorf("%d series, want %d", len(durations), want)
	}
	for series, n := range durations {
		want := 2.0
		if strings.Contains(series, "_OTHER") {
			want *= methodLimit
		}
		if n != want {
			t.Fatalf("%s is %v, want %v", series, n, want)
		}
	}
}

// wholeRPC makes one RPC with one attempt.
func wholeRPC(ctx context.Context, telemetry *tracing.Telemetry, carrier propagation.TextMapCarrier, v *tracing.Verdict) {
	const method = "/pkg.Users/Get"
	ctx, call := telemetry.StartCall(ctx, "users", method)
	ctx, attempt := telemetry.StartAttempt(ctx, &tracing.AttemptInfo{
		Service: "users", Endpoint: "users-1", Addr: "10.0.0.1:8080", Reason: "p2c", Method: method,
	})
	if telemetry.Fields() == nil {
		panic("no fields")
	}
	telemetry.Inject(ctx, carrier)
	attempt.Verdict(*v)
	attempt.End(nil)
	call.End(tracing.CallResult{Attempts: 1, StatusCode: v.StatusCode, Err: v.Err, Outcome: v.Outcome})
}

func TestCallSpanOfAnRPCThatFailed(t *testing.T) {
	r := newRig(t)
	wholeRPC(t.Context(), r.Telemetry, metadata{}, &tracing.Verdict{StatusCode: 14, Err: errors.New("gone"), Outcome: failure})
	call := r.span(t, trace.SpanKindInternal)
	want := map[string]string{
		"fairlead.service": "users", "fairlead.attempts": "1",
		"rpc.response.status_code": "UNAVAILABLE", "error.type": "UNAVAILABLE",
	}
	if diff := cmp.Diff(want, attributes(call)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if call.Name() != "pkg.Users/Get users" || call.Status().Code != codes.Error {
		t.Errorf("span %q with status %v", call.Name(), call.Status())
	}
}
