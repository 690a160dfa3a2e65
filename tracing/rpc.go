package tracing

import (
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
)

const (
	// methodLimit is how many methods of RPCs are told by their names. A
	// service has some dozens; whoever passes on what others call may meet any
	// number.
	methodLimit = 1000

	// methodLength is the longest name that is told, in bytes.
	methodLength = 256
)

// rpcMethods are the methods of RPCs that are told by their names: the first
// that are called. The conventions want the methods that a framework knows, but
// a client of gRPC may call any name, and its caller need not have been
// generated: so the bound is a number. The zero value knows none yet.
type rpcMethods struct {
	known atomic.Pointer[map[string]string] // never changed; the name by the full method
}

// name returns what a full method is told as: its name without the slash in
// front, or otherMethod. It allocates only for a method that is new.
func (m *rpcMethods) name(full string) string {
	for {
		known := m.known.Load()
		if known != nil {
			if name, ok := (*known)[full]; ok {
				return name
			}
			if len(*known) >= methodLimit {
				return otherMethod
			}
		}
		if !isFullMethod(full) {
			return otherMethod
		}
		m.known.CompareAndSwap(known, withMethod(known, full))
	}
}

func withMethod(known *map[string]string, full string) *map[string]string {
	grown := map[string]string{}
	if known != nil {
		grown = maps.Clone(*known)
	}
	full = strings.Clone(full) // it may be a part of something large
	grown[full] = full[1:]
	return &grown
}

// isFullMethod reports whether a method is of the form "/pkg.Service/Method"
// and fit to be a label.
func isFullMethod(method string) bool {
	last := strings.LastIndexByte(method, '/')
	return isRPC(method) && last > 1 && last < len(method)-1 &&
		len(method) <= methodLength && utf8.ValidString(method)
}

// isRPC reports whether a method is an RPC's full one: no HTTP method has a slash.
func isRPC(method string) bool {
	return strings.HasPrefix(method, "/")
}

// originalMethod returns a method that has no name of its own as a span may
// carry it: an exporter refuses what is not UTF-8, with all that is sent beside it.
func originalMethod(full string) string {
	return strings.ToValidUTF8(strings.TrimPrefix(full, "/"), "\uFFFD")
}

// rpcUnknown is the code that stands for codes of another space than gRPC's.
const rpcUnknown = 2

// rpcCodes are gRPC's status codes, spelled as the conventions want them.
var rpcCodes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
	"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// rpcCode returns the name of a gRPC status code. A server may send any number;
// those that have no name are UNKNOWN, which is what gRPC's list of them
// (doc/statuscodes.md) has that code for.
func rpcCode(code int) string {
	if code < 0 || code >= len(rpcCodes) {
		code = rpcUnknown
	}
	return rpcCodes[code]
}

// rpcStatus returns the name of an RPC's status code, "" where it has none: 0
// is OK unless there is an error to explain it.
func rpcStatus(code int, err error) string {
	if code == 0 && err != nil {
		return ""
	}
	return rpcCode(code)
}

// rpcDurationKey holds the attributes of rpc.client.call.duration.
type rpcDurationKey struct {
	method, address string
	port            int
	status, failure string
}

func (key rpcDurationKey) attributes() []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		semconv.RPCSystemNameGRPC,
		semconv.RPCMethod(key.method),
		semconv.ServerAddress(key.address),
	}
	if key.port != 0 {
		attrs = append(attrs, semconv.ServerPort(key.port))
	}
	if key.status != "" {
		attrs = append(attrs, semconv.RPCResponseStatusCode(key.status))
	}
	if key.failure != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(key.failure))
	}
	return attrs
}

// splitAddr returns the host and port of an address, and all of it where it
// has no port (a socket's path).
func splitAddr(addr string) (host string, port int) {
	if strings.LastIndexByte(addr, ':') < 0 {
		return addr, 0 // most services' names: the error of SplitHostPort is an allocation
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	return host, portNumber(p)
}
