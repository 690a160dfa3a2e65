package fairlead

import (
	"errors"
	"io"
	"sync/atomic"
)

// answer is the body of a call's response, as the caller has it. Its end is that of
// the attempt and the call. It is apart from both, because they are used again while
// the caller may still read and close what has ended, or hold on to it.
type answer struct {
	body    io.ReadCloser
	mesh    *Mesh
	attempt *attempt // of who ends it, and nil then
	ended   atomic.Bool
}

func newAnswer(a *attempt) *answer {
	return &answer{body: a.resp.Body, mesh: a.call.service.mesh, attempt: a}
}

// Read reads the body. Its end is the call's.
func (b *answer) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF { // nearly all bodies end so; the rest is looked at below
		b.end(nil)
		return n, err
	}
	if !errors.Is(err, io.EOF) && b.mesh.closed.Load() {
		err = ErrClosed
	}
	b.end(err)
	return n, err
}

// Close closes the body and ends the call.
func (b *answer) Close() error {
	err := b.body.Close()
	if !b.ended.Load() {
		b.end(nil)
	}
	return err
}

func (b *answer) end(err error) {
	if b.ended.CompareAndSwap(false, true) {
		a := b.attempt
		b.attempt = nil
		a.complete(err)
	}
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
