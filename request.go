package fairlead

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/fairlead-go/fairlead/retry"
)

const maxNameLength = 253 + len(":65535") // of a DNS name and a port

// serviceName returns the name of the service that a URL's host stands for: in
// lower case, without a trailing dot, with a port only if the host has one.
func serviceName(host string) (string, error) {
	if host == "" {
		return "", errors.New("fairlead: the service's name, which is the URL's host, is empty, want http://<service>/path")
	}
	if len(host) > maxNameLength {
		return "", fmt.Errorf("fairlead: the URL's host has %d bytes, want at most %d", len(host), maxNameLength)
	}
	plain := true
	for i := range len(host) {
		c := host[i]
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("fairlead: the URL's host is %q, want ASCII without spaces (an international name in its xn-- form)", host)
		}
		plain = plain && (c < 'A' || c > 'Z') && c != ':' && c != '[' && c != ']'
	}
	if plain && host[len(host)-1] != '.' {
		return host, nil
	}
	return unusualName(host)
}

// unusualName is serviceName for a host that is not in its usual form already.
func unusualName(host string) (string, error) {
	name, port := strings.ToLower(host), ""
	if i := strings.LastIndexByte(name, ':'); i >= 0 && name[len(name)-1] != ']' {
		name, port = name[:i], name[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return "", fmt.Errorf("fairlead: the URL's host is %q, want a port from 1 to 65535", host)
		}
	}
	if strings.ContainsAny(name, "[]:") {
		if _, err := netip.ParseAddr(trimBrackets(name)); err != nil || name[0] != '[' {
			return "", fmt.Errorf("fairlead: the URL's host is %q, want a service's name or an IPv6 address in brackets", host)
		}
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || strings.HasSuffix(name, ".") {
		return "", fmt.Errorf("fairlead: the URL's host is %q, want a service's name", host)
	}
	if port == "" {
		return name, nil
	}
	return name + ":" + port, nil
}

// isCall reports whether a request can be a call.
func isCall(req *http.Request) bool {
	return req.URL != nil && req.Header != nil && (req.URL.Scheme == "http" || req.URL.Scheme == "https")
}

// notCall says why a request cannot be a call: which of what isCall asks is not so.
func notCall(req *http.Request) error {
	switch {
	case req.URL == nil:
		return errors.New("fairlead: the request's URL is nil")
	case req.Header == nil:
		return errors.New("fairlead: the request's Header is nil")
	default:
		return fmt.Errorf("fairlead: the URL's scheme is %q, want http or https", req.URL.Scheme)
	}
}

// sendable reports whether net/http can send the request at all. It is asked
// only after an attempt failed, to tell the request's fault from the endpoint's.
func sendable(req *http.Request) bool {
	if req.Method != "" && !validToken(req.Method) {
		return false
	}
	if !httpguts.ValidHostHeader(req.Host) || req.ContentLength > 0 && !hasBody(req) {
		return false
	}
	if strings.ContainsFunc(req.URL.RequestURI(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	for name := range req.Trailer {
		switch http.CanonicalHeaderKey(name) {
		case "Transfer-Encoding", "Trailer", "Content-Length":
			return false
		}
	}
	return validHeader(req.Header) && validHeader(req.Trailer)
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// bodyCheckMax bounds how much of a body is read again to find out whether it
// was at fault.
const bodyCheckMax = 1 << 20

// wholeBody reports whether a body that can be had again can be read, and has the
// length that was declared, as far as bodyCheckMax tells.
func wholeBody(req *http.Request) bool {
	if !hasBody(req) || req.GetBody == nil {
		return true
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(body, bodyCheckMax))
	return err == nil && (req.ContentLength <= 0 || n == bodyCheckMax || n == req.ContentLength)
}

func validHeader(h http.Header) bool {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return false
			}
		}
	}
	return true
}

func validToken(s string) bool {
	for i := range len(s) {
		if !httpguts.IsTokenRune(rune(s[i])) {
			return false
		}
	}
	return true
}

// cancelled returns the channel by which http.Client.Timeout, and callers from
// before contexts, cancel a request. It is nil for most.
func cancelled(req *http.Request) <-chan struct{} {
	//lint:ignore SA1019 it is deprecated, and still in use
	return req.Cancel //nolint:staticcheck // it is deprecated, and still in use
}

// closeBody closes the body of a request that is not sent, as a RoundTripper must.
func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// safeToRepeat reports whether a request may be sent again although an endpoint
// may have acted on it.
func (s *service) safeToRepeat(req *http.Request, o *Override) bool {
	if o.Retry != RetryAsConfigured {
		return o.Retry == RetryAllowed
	}
	return retry.Idempotent(req.Method) || req.Header["Idempotency-Key"] != nil || s.retry.Safe(req.Context(), req.Method, req.URL.Path)
}

// withPort returns a URL's host with the port of https if it has none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(trimBrackets(host), "443")
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
