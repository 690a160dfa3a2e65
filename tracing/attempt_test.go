package tracing_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/tracing"
)

func TestAttemptSpan(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*tracing.AttemptInfo)
		verdict tracing.Verdict
		span    string
		attrs   map[string]string // changes to those of a plain GET; "" means absent
		status  codes.Code
	}{
		{
			name:    "plain",
			verdict: tracing.Verdict{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Outcome: success},
			span:    "GET",
		},
		{
			name:    "resent",
			change:  func(info *tracing.AttemptInfo) { info.Resend = 1 },
			verdict: tracing.Verdict{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Outcome: success},
			span:    "GET",
			attrs:   map[string]string{"http.request.resend_count": "1"},
		},
		{
			name:    "method that nobody knows",
			change:  func(info *tracing.AttemptInfo) { info.Request.Method = "get" },
			verdict: tracing.Verdict{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 0, Outcome: success},
			span:    "HTTP",
			attrs: map[string]string{
				"http.request.method": "_OTHER", "http.request.method_original": "get", "network.protocol.version": "1.0",
			},
		},
		{
			name: "ports and IPv6",
			change: func(info *tracing.AttemptInfo) {
				info.Request = get(t, "https://users:8443/v1/42")
				info.Addr = "[2001:db8::1]:9443"
			},
			verdict: tracing.Verdict{StatusCode: 200, ProtoMajor: 2, Outcome: success},
			span:    "GET",
			attrs: map[string]string{
				"url.full": "https://users:8443/v1/42", "server.port": "8443",
				"network.peer.address": "2001:db8::1", "network.peer.port": "9443", "network.protocol.version": "2",
			},
		},
		{
			name:    "wrong request",
			verdict: tracing.Verdict{StatusCode: 404, ProtoMajor: 1, ProtoMinor: 1, Outcome: success},
			span:    "GET",
			attrs:   map[string]string{"http.response.status_code": "404", "error.type": "404"},
			status:  codes.Error,
		},
		{
			name:    "failing endpoint",
			verdict: tracing.Verdict{StatusCode: 503, ProtoMajor: 1, ProtoMinor: 1, Outcome: failure},
			span:    "GET",
			attrs:   map[string]string{"http.response.status_code": "503", "error.type": "503", "fairlead.outcome": "failure"},
			status:  codes.Error,
		},
		{
			name:    "no response",
			verdict: tracing.Verdict{Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Outcome: failure},
			span:    "GET",
			attrs: map[string]string{
				"http.response.status_code": "", "network.protocol.version": "", "error.type": "dial", "fairlead.outcome": "failure",
			},
			status: codes.Error,
		},
		{
			name:    "cancelled hedge",
			verdict: tracing.Verdict{Err: fmt.Errorf("attempt: %w", context.Canceled), Outcome: neutral},
			span:    "GET",
			attrs:   map[string]string{"http.response.status_code": "", "network.protocol.version": "", "fairlead.outcome": "neutral"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := usersInfo(t)
			if tt.change != nil {
				tt.change(info)
			}
			span := newRig(t).attempt(t, info, tt.verdict)
			if diff := cmp.Diff(changed(tt.attrs), attributes(span)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if span.Name() != tt.span || span.Status().Code != tt.status {
				t.Errorf("span %q with status %v, want %q with %v", span.Name(), span.Status(), tt.span, tt.status)
			}
		})
	}
}

// changed returns the attributes of a plain GET with some of them changed.
func changed(changes map[string]string) map[string]string {
	attrs := map[string]string{
		"http.request.method":       "GET",
		"http.response.status_code": "200",
		"url.full":                  "http://users/v1/42",
		"server.address":            "users",
		"server.port":               "80",
		"network.peer.address":      "10.0.0.1",
		"network.peer.port":         "8080",
		"network.protocol.version":  "1.1",
		"fairlead.endpoint":         "users-1",
		"fairlead.pick.reason":      "p2c",
	}
	for key, value := range changes {
		attrs[key] = value
		if value == "" {
			delete(attrs, key)
		}
	}
	return attrs
}

func TestSamplerSeesTheAttributes(t *testing.T) {
	r := newRig(t)
	_, a := r.StartAttempt(t.Context(), usersInfo(t))
	defer a.End(nil)
	started := attributes(r.spans.Started()[0])
	for _, key := range []string{"http.request.method", "server.address", "server.port", "url.full"} {
		if started[key] == "" {
			t.Errorf("%s is not there at the start", key)
		}
	}
}

type ownError struct{ error }

type timeoutError struct{ error }

func (timeoutError) Timeout() bool { return true }

func TestErrorType(t *testing.T) {
	plain := errors.New("plain")
	tests := map[string]struct {
		err  error
		want string
	}{
		"deadline":         {fmt.Errorf("attempt 2: %w", context.DeadlineExceeded), "timeout"},
		"timeout":          {timeoutError{plain}, "timeout"},
		"dial timeout":     {&net.OpError{Op: "dial", Err: timeoutError{plain}}, "timeout"},
		"canceled":         {context.Canceled, "canceled"},
		"refused":          {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "dial"},
		"no such host":     {&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, "dial"},
		"reset":            {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "reset"},
		"broken pipe":      {&net.OpError{Op: "write", Err: syscall.EPIPE}, "reset"},
		"alert":            {&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "tls"},
		"certificate":      {&tls.CertificateVerificationError{Err: plain}, "tls"},
		"no TLS":           {tls.RecordHeaderError{Msg: "not TLS"}, "tls"},
		"end":              {io.EOF, "eof"},
		"end in the midst": {fmt.Errorf("body: %w", io.ErrUnexpectedEOF), "eof"},
		"own type":         {fmt.Errorf("x: %w", &ownError{plain}), "*tracing_test.ownError"},
		"text alone":       {fmt.Errorf("x: %w", plain), "_OTHER"},
		"joined":           {errors.Join(plain, plain), "_OTHER"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			span := newRig(t).attempt(t, usersInfo(t), tracing.Verdict{Err: tt.err, Outcome: failure})
			if got := attributes(span)["error.type"]; got != tt.want {
				t.Errorf("error.type %q, want %q", got, tt.want)
			}
			if span.Status().Code != codes.Error || span.Status().Description != tt.err.Error() {
				t.Errorf("status %+v", span.Status())
			}
		})
	}
}

func TestNeutralIsNoError(t *testing.T) {
	left, leave := context.WithCancelCause(t.Context())
	leave(errRefused)
	tests := map[string]struct {
		ctx       context.Context
		err       error
		errorType string
	}{
		"cancelled hedge":        {t.Context(), context.Canceled, ""},
		"caller's deadline":      {t.Context(), context.DeadlineExceeded, ""},
		"caller's own cause":     {left, errRefused, ""},
		"the request's own flaw": {t.Context(), &ownError{errRefused}, "*tracing_test.ownError"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			_, a := r.StartAttempt(tt.ctx, usersInfo(t))
			a.Verdict(tracing.Verdict{Err: tt.err, Outcome: neutral})
			a.End(nil)
			span := r.span(t, trace.SpanKindClient)
			if status := span.Status(); status.Code != codes.Unset {
				t.Errorf("status %v", status)
			}
			if got := attributes(span)["error.type"]; got != tt.errorType {
				t.Errorf("error.type %q, want %q", got, tt.errorType)
			}
			if got := points(t, r.reader, "fairlead.attempts"); got["fairlead.endpoint=users-1,fairlead.outcome=neutral,fairlead.service=users"] != 1 {
				t.Errorf("attempts %v", got)
			}
		})
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	r := newRig(t)
	_, a := r.StartAttempt(t.Context(), usersInfo(t))
	a.Verdict(tracing.Verdict{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Outcome: success})
	a.End(io.ErrUnexpectedEOF)
	a.End(io.ErrUnexpectedEOF)
	span := r.span(t, trace.SpanKindClient)
	if diff := cmp.Diff(changed(map[string]string{"error.type": "eof"}), attributes(span)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if span.Status().Code != codes.Error {
		t.Errorf("status %v", span.Status())
	}
	if events := span.Events(); len(events) != 1 || pairs(events[0].Attributes)["error.type"] != "eof" {
		t.Errorf("events %v", events)
	}
	want := map[string]float64{"error.type=eof,fairlead.endpoint=users-1,fairlead.service=users": 1}
	if diff := cmp.Diff(want, points(t, r.reader, "fairlead.body.errors")); diff != "" {
		t.Errorf("fairlead.body.errors (-want +got):\n%s", diff)
	}
}

func TestBodyThatBreaksOffKeepsTheStatusError(t *testing.T) {
	r := newRig(t)
	_, a := r.StartAttempt(t.Context(), usersInfo(t))
	a.Verdict(tracing.Verdict{StatusCode: 503, Outcome: failure})
	a.End(io.ErrUnexpectedEOF)
	if got := attributes(r.span(t, trace.SpanKindClient))["error.type"]; got != "503" {
		t.Errorf("error.type %q, want the first, 503", got)
	}
}

func TestAttemptMetrics(t *testing.T) {
	r := newRig(t)
	for range 3 {
		_, a := r.StartAttempt(t.Context(), usersInfo(t))
		a.Verdict(tracing.Verdict{StatusCode: 503, ProtoMajor: 1, ProtoMinor: 1, Outcome: failure})
		a.Verdict(tracing.Verdict{StatusCode: 200, Outcome: success}) // too late
		a.End(nil)
		r.Retry(t.Context(), "users", "budget")
	}
	tests := map[string]string{
		"http.client.request.duration": "error.type=503,http.request.method=GET,http.response.status_code=503," +
			"network.protocol.version=1.1,server.address=users,server.port=80",
		"fairlead.picks":    "fairlead.endpoint=users-1,fairlead.pick.reason=p2c,fairlead.service=users",
		"fairlead.attempts": "fairlead.endpoint=users-1,fairlead.outcome=failure,fairlead.service=users",
		"fairlead.retries":  "fairlead.result=budget,fairlead.service=users",
	}
	for name, series := range tests {
		if diff := cmp.Diff(map[string]float64{series: 3}, points(t, r.reader, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDurationBuckets(t *testing.T) {
	r := newRig(t)
	for _, info := range []*tracing.AttemptInfo{usersInfo(t), rpcInfo()} {
		_, a := r.StartAttempt(t.Context(), info)
		a.Verdict(tracing.Verdict{Outcome: success})
		a.End(nil)
	}
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		found[m.Name] = m
	}
	want := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	for _, name := range []string{"http.client.request.duration", "rpc.client.call.duration"} {
		m, ok := found[name]
		if !ok {
			t.Errorf("no %s", name)
			continue
		}
		if diff := cmp.Diff(want, m.Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds); diff != "" || m.Unit != "s" {
			t.Errorf("%s: unit %q, bounds (-want +got):\n%s", name, m.Unit, diff)
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 50 {
		info := usersInfo(t)
		info.Request = get(t, fmt.Sprintf("http://users/v1/%d?page=%d", i, i))
		info.Request.Method = fmt.Sprintf("M%d", i)
		_, a := r.StartAttempt(t.Context(), info)
		a.Verdict(tracing.Verdict{Err: fmt.Errorf("error %d", i), Outcome: failure})
		a.End(nil)
	}
	for _, name := range []string{"http.client.request.duration", "fairlead.picks", "fairlead.attempts"} {
		if series := points(t, r.reader, name); len(series) != 1 {
			t.Errorf("%s has %d series, want 1", name, len(series))
		}
	}
}

// More series than are cached are still counted, each in its own.
func TestMoreSeriesThanCached(t *testing.T) {
	r := newRig(t)
	const n = 10_000
	for range 2 {
		for i := range n {
			r.Retry(t.Context(), fmt.Sprintf("service-%d", i), "sent")
		}
	}
	series := points(t, r.reader, "fairlead.retries")
	if len(series) != n {
		t.Fatalf("%d series, want %d", len(series), n)
	}
	for key, count := range series {
		if count != 2 {
			t.Fatalf("%s is %v, want 2", key, count)
		}
	}
}
