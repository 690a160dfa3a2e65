package tracing

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"
)

// maxStart is how many attributes an attempt's span can start with.
const maxStart = 11

// spanStart holds the options that an attempt's span starts with, to be used
// again: a sampler must see the attributes, and the options around them would
// be three allocations per attempt. Whoever applies options copies them, so
// that they are free again when the span has started.
type spanStart struct {
	attrs   [maxStart]attribute.KeyValue
	n       int
	sized   [maxStart + 1]trace.SpanStartOption // sized[n] has the first n of attrs
	options [2]trace.SpanStartOption
}

var spanStarts = sync.Pool{New: func() any {
	s := &spanStart{}
	for n := range s.sized {
		s.sized[n] = trace.WithAttributes(s.attrs[:n:n]...)
	}
	s.options[0] = trace.WithSpanKind(trace.SpanKindClient)
	return s
}}

// startSpan starts an attempt's span.
func startSpan(ctx context.Context, tracer *tracer, a *Attempt, info *AttemptInfo) (context.Context, trace.Span) {
	s := spanStarts.Get().(*spanStart)
	if a.rpc {
		s.addRPC(a, info)
	} else {
		s.addHTTP(a, info)
	}
	s.addServer(a)
	s.addPeer(info)
	s.options[1] = s.sized[s.n]
	ctx, span := tracer.Start(ctx, spanName(a.method, a.rpc), s.options[:]...)
	clear(s.attrs[:s.n]) // keep nobody's URL
	s.n = 0
	spanStarts.Put(s)
	return ctx, span
}

func (s *spanStart) addHTTP(a *Attempt, info *AttemptInfo) {
	s.add(semconv.HTTPRequestMethodKey.String(a.method))
	if a.method == otherMethod {
		s.add(semconv.HTTPRequestMethodOriginal(info.Request.Method))
	}
	s.add(semconv.URLFull(fullURL(info.Request.URL)))
	if info.Resend > 0 {
		s.add(semconv.HTTPRequestResendCount(info.Resend))
	}
}

func (s *spanStart) addRPC(a *Attempt, info *AttemptInfo) {
	s.add(semconv.RPCSystemNameGRPC)
	s.add(semconv.RPCMethod(a.method))
	if a.method == otherMethod && info.Method != "" {
		s.add(semconv.RPCMethodOriginal(originalMethod(info.Method)))
	}
	if info.Resend > 0 {
		s.add(resendKey.Int(info.Resend))
	}
}

func (s *spanStart) addServer(a *Attempt) {
	s.add(semconv.ServerAddress(a.address))
	if a.port != 0 {
		s.add(semconv.ServerPort(a.port))
	}
}

func (s *spanStart) addPeer(info *AttemptInfo) {
	host, port := splitAddr(info.Addr)
	if host != "" {
		s.add(semconv.NetworkPeerAddress(host))
	}
	if port != 0 {
		s.add(semconv.NetworkPeerPort(port))
	}
	s.add(endpointKey.String(info.Endpoint))
	if info.Reason != "" {
		s.add(reasonKey.String(info.Reason))
	}
}

func (s *spanStart) add(attr attribute.KeyValue) {
	s.attrs[s.n] = attr
	s.n++
}
