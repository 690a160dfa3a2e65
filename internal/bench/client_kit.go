package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	neturl "net/url"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/lb"
	kithttp "github.com/go-kit/kit/transport/http"
	"github.com/go-kit/log"
)

// kitClient is go-kit's round robin with at most one retry, which cannot do without
// a timeout.
var kitClient = client{"go-kit", func(s *site) (session, error) {
	base, closeIdle := s.transport()
	known := sd.NewEndpointer(sd.FixedInstancer(s.addrs), kitFactory(s, base), log.NewNopLogger())
	end := func() { known.Close(); closeIdle() }
	if err := kitKnows(known, len(s.addrs)); err != nil {
		end()
		return session{}, err
	}
	call := lb.Retry(2, time.Minute, lb.NewRoundRobin(known))
	return session{func() error { _, err := call(context.Background(), nil); return err }, end}, nil
}}

// kitFactory makes what calls one endpoint.
func kitFactory(s *site, base http.RoundTripper) sd.Factory {
	return func(addr string) (endpoint.Endpoint, io.Closer, error) {
		to, err := neturl.Parse(url(addr))
		if err != nil {
			return nil, nil, err
		}
		encode := func(context.Context, *http.Request, any) error { return nil }
		decode := func(_ context.Context, resp *http.Response) (any, error) { return nil, s.read(resp) }
		c := kithttp.NewClient(http.MethodGet, to, encode, decode, kithttp.SetClient(&http.Client{Transport: base}))
		return c.Endpoint(), nil, nil
	}
}

// kitKnows waits until an Endpointer has all endpoints.
func kitKnows(known sd.Endpointer, n int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		endpoints, err := known.Endpoints()
		if err != nil {
			return err
		}
		if len(endpoints) == n {
			return nil
		}
	}
	return errors.New("the endpoints do not become known")
}
