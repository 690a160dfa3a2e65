package consul

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	maxAnswer = 64 << 20 // bytes of a 200, after decompression
	maxError  = 16 << 10 // bytes of any other answer
)

// idleTimeout is short, since over plain HTTP each waiting query holds a
// connection, and net/http makes more than are needed where many begin at
// once (it dials for each, and then gives it whichever is free first). An agent
// counts those too.
const idleTimeout = 5 * time.Second

var errTooLarge = errors.New("the answer is larger than 64 MiB")

// placeholder stands where consul/api wants a token. Without one it would read
// the token file itself, once, and send that token for ever.
const placeholder = "-"

// newClient makes the client of a Resolver or Registrar. It does no network I/O, but reads
// the TLS files that CONSUL_* names.
func newClient(c Config, conns *conns) (*api.Client, tokenSource, error) {
	conf := api.DefaultConfig()
	if c.Address != "" {
		conf.Address = c.Address
	}
	if c.Namespace != "" {
		conf.Namespace = c.Namespace
	}
	if c.Partition != "" {
		conf.Partition = c.Partition
	}
	token := c.tokenSource(conf.TokenFile, conf.Token)
	conf.Token, conf.TokenFile = placeholder, ""

	transport, err := newTransport(c, conf, conns)
	if err != nil {
		return nil, nil, err
	}
	conf.HttpClient = &http.Client{
		Transport: carrier{transport, conns},
		// A redirect would carry the token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client, err := api.NewClient(conf)
	return client, token, err
}

// newTransport makes the transport of one Resolver or Registrar, and moves what Config
// says about them out of conf.
func newTransport(c Config, conf *api.Config, conns *conns) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           conns.dialing(dialer.DialContext),
		TLSHandshakeTimeout:   5 * time.Second,
		ForceAttemptHTTP2:     true, // hundreds of watches then share a few connections
		MaxIdleConnsPerHost:   64,
		MaxConnsPerHost:       conns.most,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	if path, found := strings.CutPrefix(conf.Address, "unix://"); found {
		t.DialContext = conns.dialing(func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) })
		t.Proxy = nil
		conf.Address = "localhost"
	}
	if c.TLS != nil {
		conf.Scheme = "https"
		t.TLSClientConfig = c.TLS.Clone()
		return t, nil
	}
	var err error
	t.TLSClientConfig, err = api.SetupTLSConfig(&conf.TLSConfig)
	return t, err
}

// decoder takes the body of a query's answer.
type decoder interface {
	decode(data []byte) error
}

// decodeInto makes the carrier decode a query's answer into d. consul/api would
// scan all of it twice before.
func decodeInto(ctx context.Context, d decoder) context.Context {
	return context.WithValue(ctx, decoderKey{}, d)
}

type decoderKey struct{}

// carrier sends consul/api's requests, and bounds what comes back.
type carrier struct {
	transport *http.Transport
	conns     *conns
}

func (c carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("X-Consul-Token") == placeholder {
		req = req.Clone(req.Context())
		req.Header.Del("X-Consul-Token")
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	into, decodes := req.Context().Value(decoderKey{}).(decoder)
	if _, asked := into.(health); asked && tellsHealth(resp) {
		resp.StatusCode = http.StatusOK
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body = body{io.LimitReader(resp.Body, maxError), resp.Body}
		return resp, nil
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	if decodes {
		if err := decode(resp, into); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// send lets the connections know which end of theirs was announced. The answer's
// body, at whose end it may come, is not read before.
func (c carrier) send(req *http.Request) (*http.Response, error) {
	if c.conns.ended == nil {
		return c.transport.RoundTrip(req)
	}
	req, farewell := c.conns.announced(req)
	resp, err := c.transport.RoundTrip(req)
	if err == nil && resp.Close {
		farewell()
	}
	return resp, err
}

// decode moves the answer into d and leaves an empty object in its place.
//
// It reads all of it first: a json.Decoder takes quadratic time over white
// space that comes in small pieces.
func decode(resp *http.Response, d decoder) error {
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = body{strings.NewReader("{}"), http.NoBody}
	return d.decode(data)
}

type body struct {
	io.Reader
	io.Closer
}

// boundedBody fails where more than left bytes come.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
