package fairlead

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// answer is the body of a call's response, as the caller has it. Its end is that of
// the attempt and the call. It is apart from both, because they are used again while
// the caller may still read and close what has ended, or hold on to it.
type answer struct {
	body    io.ReadCloser
	attempt *attempt // of who ends it, and nil then
	state   atomic.Uint32
}

// The states of an answer.
const (
	answerOpen uint32 = iota
	answerEnded
	answerCut // ended, after the Mesh was closed
)

// answer hands an attempt's response out. The call ends with its body.
func (c *call) answer(a *attempt) (*http.Response, error) {
	if c.kept != nil && c.kept != a {
		c.kept.lose()
	}
	c.decide()
	resp := a.resp
	resp.Request = c.req
	switch {
	case resp.Body == http.NoBody:
		a.complete(nil)
	case resp.StatusCode == http.StatusSwitchingProtocols:
		a.lease.BecomesStream()
		c.leave()
		resp.Body = upgraded(&answer{body: resp.Body, attempt: a})
	default:
		resp.Body = &answer{body: resp.Body, attempt: a}
	}
	return resp, nil
}

// Read reads the body. Its end is the call's.
func (b *answer) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF { // as nearly all bodies end; breakOff knows one that is wrapped
		b.end()
		return n, err
	}
	return n, b.breakOff(err)
}

// Close closes the body and ends the call.
func (b *answer) Close() error {
	if b.state.Load() == answerOpen {
		return b.cutShort()
	}
	return b.body.Close() // which has ended, as nearly all have
}

// cutShort is Close for a body that has not ended. The call does so first of all: a Read
// that it breaks off is nobody's failure.
func (b *answer) cutShort() error {
	if a := b.take(); a != nil {
		defer a.complete(nil)
	}
	return b.body.Close()
}

// breakOff ends the call for an error of its body, and returns what the caller is told.
func (b *answer) breakOff(err error) error {
	a := b.take()
	if b.state.Load() == answerCut && !errors.Is(err, io.EOF) {
		err = ErrClosed
	}
	if a != nil {
		a.complete(err)
	}
	return err
}

// end ends the call, whose body was read to its end.
func (b *answer) end() {
	if b.state.CompareAndSwap(answerOpen, answerEnded) {
		a := b.attempt
		b.attempt = nil
		a.complete(nil)
	}
}

// take returns the attempt for who ends the call before its body has ended, nil for all
// others, and notes whether the Mesh was closed before.
func (b *answer) take() *attempt {
	if !b.state.CompareAndSwap(answerOpen, answerEnded) {
		return nil
	}
	a := b.attempt
	b.attempt = nil
	if a.call.service.mesh.closed.Load() {
		b.state.Store(answerCut)
	}
	return a
}

// upgraded is the body of an answer that switched protocols: it can be written to where
// the transport's can.
func upgraded(b *answer) io.ReadCloser {
	if w, ok := b.body.(io.Writer); ok {
		return struct {
			*answer
			io.Writer
		}{b, w}
	}
	return b
}

// complete ends an attempt and its call, whose answer's body ended with err.
func (a *attempt) complete(err error) {
	c, status := a.call, a.resp.StatusCode
	if err != nil && !c.brokeOff(err) {
		err = nil
	}
	a.settle(err)
	if c.replay != nil {
		c.replay.close() // the answer is over: nobody wants the rest of the request
	}
	c.end(status, err)
	c.recycle()
}

// brokeOff reports whether a body that ended with err ended as it should not: any but io.EOF,
// unless the caller went away. After good headers, how long the body takes is the
// caller's doing too.
func (c *call) brokeOff(err error) bool {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	return !c.gone(err) && c.ctx.Err() == nil
}
