package main

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	grpcstatus "google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/balancer"
)

// method is what kind of call one was.
type method uint8

const (
	get method = iota
	post
	rpc
)

func (m method) String() string { return [...]string{"GETs", "POSTs", "RPCs"}[m] }

// record is what became of one call.
type record struct {
	start    time.Duration // after the load began
	took     time.Duration // to the headers' end; of an RPC to its own
	whole    time.Duration // to the body's end
	status   int16         // 0: no headers
	slot     int8          // who answered, or -1
	attempts uint8
	method   method
	broken   bool   // the body broke off
	kind     string // of the error, empty if none
}

// failed reports an error before the headers, or a status that says as much.
func (r *record) failed() bool { return r.status == 0 || r.status >= 500 || r.status == 429 }

// errorKind names an error in a few words, of which there are only few.
func errorKind(err error) string {
	if code, ok := grpcstatus.FromError(err); ok {
		return "rpc " + code.Code().String()
	}
	var dial *net.OpError
	switch {
	case errors.Is(err, balancer.ErrAllRejected):
		return "all breakers open"
	case errors.Is(err, balancer.ErrNoEndpoints):
		return "no endpoints"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "dial"
	}
	return innermost(err)
}

// innermost is the text of the cause of all, which names no addresses.
func innermost(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()[:min(60, len(err.Error()))]
}
