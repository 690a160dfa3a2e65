package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// service is the name by which libraries with discovery are asked for a site.
const service = "users"

// site is where HTTP calls go.
type site struct {
	addrs []string
	body  string // what all endpoints answer

	// memory answers calls to an endpoint without a socket, those to any where addr
	// is empty. Nil means that there are sockets.
	memory func(addr string) http.RoundTripper
}

// idleConns is how many connections a client may keep to an endpoint.
const idleConns = 100

// transport is what a library that brings none of its own sends by, and its end.
func (s *site) transport() (http.RoundTripper, func()) {
	if s.memory != nil {
		return s.memory(""), func() {}
	}
	t := &http.Transport{MaxIdleConnsPerHost: idleConns}
	return t, t.CloseIdleConnections
}

// url is that of the site's resource, at one of its endpoints or at the service.
func url(host string) string { return "http://" + host + "/v1/42" }

// get makes a whole call.
func (s *site) get(do func(*http.Request) (*http.Response, error), url string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := do(req)
	if err != nil {
		return err
	}
	return s.end(resp)
}

// end reads and closes the answer.
func (s *site) end(resp *http.Response) error {
	return errors.Join(s.read(resp), resp.Body.Close())
}

// read reads the answer, which must be the site's.
func (s *site) read(resp *http.Response) error {
	n, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case n != int64(len(s.body)):
		return fmt.Errorf("an answer of %d bytes, not %d", n, len(s.body))
	}
	return nil
}

// inMemory is a site of three endpoints that answer at once.
func inMemory() *site {
	const body = `{"id":42}`
	return &site{
		addrs: addresses(3), body: body,
		memory: func(string) http.RoundTripper { return instant(body) },
	}
}

// instant answers at once, in memory.
type instant string

func (i instant) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(i)),
		Header: http.Header{}, Body: newMemoryBody(string(i)), Request: req,
	}, nil
}

// memoryBody is the body of an answer that does what those of net/http do whose length is
// known: its end comes with its last bytes, and it has no WriteTo, by which a reader of all
// of it could do without what whoever wraps a body does.
type memoryBody struct{ rest strings.Reader }

func newMemoryBody(s string) *memoryBody {
	b := &memoryBody{}
	b.rest.Reset(s)
	return b
}

func (b *memoryBody) Read(p []byte) (int, error) {
	n, err := b.rest.Read(p)
	if err == nil && b.rest.Len() == 0 {
		err = io.EOF
	}
	return n, err
}

func (b *memoryBody) Close() error { return nil }
