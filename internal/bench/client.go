package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/gojek/heimdall/v7/httpclient"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// client is a library's way to make an HTTP call.
type client struct {
	name string
	open func(*site) (session, error)
}

// session is a client that has been made, for one site.
type session struct {
	call  func() error
	close func() // nil means nothing to close
}

// entry has the client make its first calls, so that all endpoints are connected to.
func (c *client) entry(s *site) entry {
	return entry{c.name, func() (worker, error) {
		session, err := c.open(s)
		if err != nil {
			return worker{}, err
		}
		for range 10 * len(s.addrs) {
			if err := session.call(); err != nil {
				if session.close != nil {
					session.close()
				}
				return worker{}, fmt.Errorf("one of the first calls: %w", err)
			}
		}
		if s.memory != nil {
			return untimed(session.call, session.close), nil
		}
		return caller(session.call, session.close), nil
	}}
}

// around is a client that knows one endpoint, and what is put around its transport.
func around(name string, wrap func(http.RoundTripper) http.RoundTripper) client {
	return client{name, func(s *site) (session, error) {
		base, closeIdle := s.transport()
		c := &http.Client{Transport: wrap(base)}
		to := url(s.addrs[0])
		return session{func() error { return s.get(c.Do, to) }, closeIdle}, nil
	}}
}

// inTurn is around for all endpoints, of which each call takes the next.
func inTurn(name string, wrap func(http.RoundTripper) http.RoundTripper) client {
	return client{name, func(s *site) (session, error) {
		base, closeIdle := s.transport()
		c := &http.Client{Transport: wrap(base)}
		var turn atomic.Uint64
		to := make([]string, len(s.addrs))
		for i, addr := range s.addrs {
			to[i] = url(addr)
		}
		return session{func() error { return s.get(c.Do, to[turn.Add(1)%uint64(len(to))]) }, closeIdle}, nil
	}}
}

// recorded is otelhttp around a transport.
func recorded(rt http.RoundTripper) http.RoundTripper {
	t := newTelemetry()
	return otelhttp.NewTransport(rt, otelhttp.WithTracerProvider(t.tracers), otelhttp.WithMeterProvider(t.meters), otelhttp.WithPropagators(t.propagator))
}

// The clients that balance nothing.
var (
	bare = around("net/http alone", func(rt http.RoundTripper) http.RoundTripper { return rt })

	// bareInTurn knows all endpoints, and takes the next of them for each call.
	bareInTurn = inTurn("net/http alone, in turn", func(rt http.RoundTripper) http.RoundTripper { return rt })

	recordedBare   = around("otelhttp", recorded)
	recordedInTurn = inTurn("otelhttp, in turn", recorded)

	failsafeGo = around("failsafe-go retry, breaker", func(rt http.RoundTripper) http.RoundTripper {
		policies := []failsafe.Policy[*http.Response]{
			failsafehttp.NewRetryPolicyBuilder().Build(),
			circuitbreaker.NewBuilder[*http.Response]().HandleIf(failed).Build(),
		}
		return failsafehttp.NewRoundTripper(rt, policies...)
	})

	goBreaker = client{"gobreaker", func(s *site) (session, error) {
		base, closeIdle := s.transport()
		c, to := &http.Client{Transport: base}, url(s.addrs[0])
		breaker := gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{})
		do := func(req *http.Request) (*http.Response, error) {
			return breaker.Execute(func() (*http.Response, error) { return c.Do(req) })
		}
		return session{func() error { return s.get(do, to) }, closeIdle}, nil
	}}

	retryable = client{"go-retryablehttp", func(s *site) (session, error) {
		base, closeIdle := s.transport()
		c, to := retryablehttp.NewClient(), url(s.addrs[0])
		c.Logger, c.HTTPClient = nil, &http.Client{Transport: base}
		return session{func() error { return s.answered(c.Get(to)) }, closeIdle}, nil
	}}

	heimdallClient = client{"heimdall", func(s *site) (session, error) {
		base, closeIdle := s.transport()
		to := url(s.addrs[0])
		c := httpclient.NewClient(httpclient.WithHTTPClient(&http.Client{Transport: base}), httpclient.WithRetryCount(1))
		return session{func() error { return s.answered(c.Get(to, http.Header{})) }, closeIdle}, nil
	}}
)

// failed is what counts as an endpoint's failure.
func failed(resp *http.Response, err error) bool {
	return err != nil || resp.StatusCode >= http.StatusInternalServerError
}

// answered ends a call of a library that makes its requests itself.
func (s *site) answered(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	return s.end(resp)
}

// patience is how long anything may take to become ready.
const patience = 10 * time.Second
