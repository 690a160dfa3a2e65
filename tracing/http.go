package tracing

import (
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
)

// otherMethod stands for methods that the conventions do not know, so that a
// caller's inventions make no series and no span names.
const otherMethod = "_OTHER"

// knownMethod returns an HTTP method as the conventions want it. Methods are
// case-sensitive (RFC 9110, section 9.1); none means GET, as in net/http.
func knownMethod(method string) string {
	switch method {
	case "":
		return http.MethodGet
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace, "QUERY":
		return method
	}
	return otherMethod
}

// origin returns the host and the port that a URL names, the scheme's port
// where it names none, and 0 where none is known.
func origin(u *url.URL) (host string, port int) {
	host = u.Hostname()
	if p := u.Port(); p != "" {
		return host, portNumber(p)
	}
	switch u.Scheme {
	case "http":
		return host, 80
	case "https":
		return host, 443
	}
	return host, 0
}

// portNumber returns a port, or 0 where it is none.
func portNumber(s string) int {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// protocolVersion returns the version of HTTP as the conventions write it, ""
// where it is not known.
func protocolVersion(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1"
	case major == 1 && minor == 0:
		return "1.0"
	case major == 2:
		return "2"
	case major == 3:
		return "3"
	}
	return ""
}

// statusAttribute returns the attribute for a status code, if there is one.
func statusAttribute(rpc bool, code int, err error) (attribute.KeyValue, bool) {
	if rpc {
		status := rpcStatus(code, err)
		return semconv.RPCResponseStatusCode(status), status != ""
	}
	return semconv.HTTPResponseStatusCode(code), code != 0
}

// httpDurationKey holds the attributes of http.client.request.duration.
type httpDurationKey struct {
	method, address string
	port, status    int
	failure         string
	version         string
}

func (key httpDurationKey) attributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(key.method),
		semconv.ServerAddress(key.address),
	}
	if key.port != 0 {
		attrs = append(attrs, semconv.ServerPort(key.port))
	}
	if key.status != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(key.status))
	}
	if key.failure != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(key.failure))
	}
	if key.version != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(key.version))
	}
	return attrs
}
