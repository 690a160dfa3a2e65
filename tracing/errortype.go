package tracing

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"reflect"
	"strconv"
	"syscall"

	"github.com/fairlead-go/fairlead/balancer"
)

// What an error.type can be besides a status code and the name of a Go type.
const (
	typeTimeout  = "timeout"
	typeCanceled = "canceled"
	typeDial     = "dial"
	typeTLS      = "tls"
	typeReset    = "reset"
	typeEOF      = "eof"
	typeOther    = "_OTHER"
)

// errorType names the kind of an error. There are few of them: no text of an
// error is ever one.
func errorType(err error) string {
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return typeTimeout
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return typeTimeout
	case errors.Is(err, context.Canceled):
		return typeCanceled
	case isDial(err):
		return typeDial
	case isTLS(err):
		return typeTLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return typeReset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return typeEOF
	}
	return goType(err)
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func isTLS(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return true // how crypto/tls reports an alert
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok
}

// goType returns the type of the innermost error, unless it is one that says nothing.
func goType(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	switch name := reflect.TypeOf(err).String(); name {
	case "*errors.errorString", "*errors.joinError", "*fmt.wrapErrors":
		return typeOther
	default:
		return name
	}
}

// failure returns the error.type of what an attempt or a call ended with, ""
// when it is no failure: among them is what the caller broke off.
func failure(ctx context.Context, rpc bool, code int, err error, outcome balancer.Outcome) string {
	kind := ""
	switch {
	case rpc && code != 0:
		kind = rpcCode(code)
	case !rpc && code >= 400:
		kind = strconv.Itoa(code)
	case err != nil:
		kind = errorType(err)
	}
	if outcome.Verdict == balancer.Neutral && (ctx.Err() != nil || leftKind(kind)) {
		return ""
	}
	return kind
}

// leftKind reports whether an error's kind is one that the caller's leaving has.
// A context's cause can be any error, and a Request's Cancel comes before the
// context's end: neither sign suffices alone.
func leftKind(kind string) bool {
	switch kind {
	case typeTimeout, typeCanceled, rpcCodes[1], rpcCodes[4]:
		return true
	}
	return false
}

// description is what a span's status says besides being an error. A status
// code speaks for itself.
func description(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
