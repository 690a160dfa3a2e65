package tracing

import (
	"net"
	"strconv"
	"strings"
)

// rpcCodes are gRPC's status codes, spelled as the conventions want them.
var rpcCodes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
	"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// rpcCode returns the name of a gRPC status code, its number where it has none.
func rpcCode(code int) string {
	if code >= 0 && code < len(rpcCodes) {
		return rpcCodes[code]
	}
	return strconv.Itoa(code)
}

// isRPC reports whether a method is an RPC's full one: no HTTP method has a slash.
func isRPC(method string) bool {
	return strings.HasPrefix(method, "/")
}

// splitAddr returns the host and port of an address, and all of it where it
// has no port (a socket's path).
func splitAddr(addr string) (host string, port int) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	return host, portNumber(p)
}
