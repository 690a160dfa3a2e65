package main

import (
	"context"
	"io"
	"net/http"

	"github.com/bufbuild/httplb"
	"github.com/bufbuild/httplb/resolver"
)

// httplbClient is httplb with its defaults: round robin. It is given transports that
// keep as many connections as the others'; its own keep one per endpoint.
var httplbClient = client{"httplb", func(s *site) (session, error) {
	c := httplb.NewClient(
		httplb.WithResolver(httplbResolver(func(string) []string { return s.addrs })),
		httplb.WithTransport("http", httplbTransport{s}),
	)
	to := url(service)
	return session{func() error { return s.get(c.Do, to) }, func() { _ = c.Close() }}, nil
}}

// httplbResolver knows all it will ever know of a host.
type httplbResolver func(hostPort string) []string

func (r httplbResolver) New(_ context.Context, _, hostPort string, receiver resolver.Receiver, _ <-chan struct{}) io.Closer {
	var addrs []resolver.Address
	for _, addr := range r(hostPort) {
		addrs = append(addrs, resolver.Address{HostPort: addr})
	}
	receiver.OnResolve(addrs)
	return io.NopCloser(nil)
}

// httplbTransport makes the transport of each endpoint.
type httplbTransport struct{ *site }

func (t httplbTransport) NewRoundTripper(_, target string, _ httplb.TransportConfig) httplb.RoundTripperResult {
	if t.memory != nil {
		return httplb.RoundTripperResult{RoundTripper: t.memory(target)}
	}
	rt := &http.Transport{MaxIdleConnsPerHost: idleConns}
	return httplb.RoundTripperResult{RoundTripper: rt, Close: rt.CloseIdleConnections}
}
