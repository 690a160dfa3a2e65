package grpcbalancer

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/balancer"
)

// streamState is what a call that is a stream has besides. All of it is guarded
// by the call's mu.
type streamState struct {
	is          bool
	restartable bool    // it may be opened again until its first response
	opened      bool    // the caller has it
	answered    bool    // there was a response
	finished    bool    // gRPC's stream is over, by err
	err         error   // nil for a good end
	current     *try    // the attempt under way
	policy      *policy // of the last pick
	unwatch     func()  // ends the watch over one that waits to be opened again
}

// opener opens gRPC's stream.
type opener func(context.Context) (grpc.ClientStream, error)

// openStream opens gRPC's stream, on another endpoint where that fails and may
// be tried again.
func (c *call) openStream(open opener) (grpc.ClientStream, error) {
	for {
		stream, err := open(c.prepare(false))
		if err == nil {
			return stream, nil
		}
		again, err := c.again(err, true)
		if !again {
			return nil, err
		}
	}
}

// handOut is called when the caller gets the stream: its end is now the call's.
func (c *call) handOut() {
	c.mu.Lock()
	c.stream.opened = true
	finished := c.stream.finished && c.stream.current == nil
	c.mu.Unlock()
	if finished {
		c.settle()
	}
}

// streamFinished is called when gRPC's stream is over; its attempt may end after that.
func (c *call) streamFinished(err error) {
	c.mu.Lock()
	c.stream.finished, c.stream.err = true, err
	finished := c.stream.current == nil
	c.mu.Unlock()
	if finished {
		c.settle()
	}
}

// settle ends the call with its stream, unless the caller may come and have it
// opened again.
func (c *call) settle() {
	c.mu.Lock()
	s := &c.stream
	if !s.opened || c.over {
		c.mu.Unlock()
		return
	}
	err := s.err
	waits := s.restartable && !s.answered && err != nil && c.sent && c.outcome.Resend != balancer.ResendNever
	if waits && s.unwatch == nil {
		c.watchLocked(err)
	}
	c.mu.Unlock()
	if !waits {
		c.end(err)
	}
}

// streamError returns what gRPC's stream ended with, nil where it has not, or well.
func (c *call) streamError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream.err
}

// report tells the verdict on an attempt that is still under way.
func (c *call) report(t *try, o balancer.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream.current == t {
		t.lease.Report(o)
	}
}

// answer is called at each response. The first is the verdict.
func (c *call) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream.answered {
		return
	}
	c.stream.answered = true
	if t := c.stream.current; t != nil {
		t.lease.Report(balancer.Outcome{Verdict: balancer.Success})
	}
}

// watched is a stream whose first response is noticed.
type watched struct {
	grpc.ClientStream
	call     *call
	answered atomic.Bool
}

func (s *watched) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err == nil && md != nil {
		s.answer()
	}
	return md, err
}

func (s *watched) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.answer()
	}
	return err
}

func (s *watched) answer() {
	if !s.answered.Load() {
		s.answered.Store(true)
		s.call.answer()
	}
}

// restartable is a stream of responses to one request: until the first of them
// it may be opened again, on another endpoint. It keeps the request for as long.
type restartable struct {
	call *call
	open opener
	now  atomic.Pointer[watched]

	mu      sync.Mutex
	request any   // nil before it was sent, and when it is no longer needed; guarded by mu
	closed  bool  // CloseSend was called; guarded by mu
	final   error // it is not opened again because of that; guarded by mu
}

// Header returns the first response's, be it on another stream than the first.
// Where there is none, RecvMsg says why.
func (s *restartable) Header() (metadata.MD, error) {
	for {
		stream := s.now.Load()
		md, err := stream.Header()
		if md != nil || err != nil {
			s.forget()
			return md, err
		}
		if err := s.call.streamError(); err == nil || s.restart(stream, err) != nil {
			return nil, nil //nolint:nilerr // it is RecvMsg that tells, as gRPC has it
		}
	}
}

func (s *restartable) Trailer() metadata.MD     { return s.now.Load().Trailer() }
func (s *restartable) Context() context.Context { return s.now.Load().Context() }

func (s *restartable) SendMsg(m any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.request = m
	err := s.now.Load().SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) {
		s.final = err // gRPC has ended the stream, and its caller need not come back
		s.call.end(err)
	}
	return err
}

func (s *restartable) CloseSend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.now.Load().CloseSend()
}

func (s *restartable) RecvMsg(m any) error {
	for {
		stream := s.now.Load()
		answered := stream.answered.Load()
		err := stream.ClientStream.RecvMsg(m)
		switch {
		case err == nil && answered:
			return nil
		case err == nil:
			stream.answer()
			s.forget()
			return nil
		case errors.Is(err, io.EOF) || stream.answered.Load():
			return err
		}
		if err := s.restart(stream, err); err != nil {
			return err
		}
	}
}

// forget lets go of the request, which is not sent again after a response.
func (s *restartable) forget() {
	s.mu.Lock()
	s.request = nil
	s.mu.Unlock()
}

// restart opens the stream again in place of one that ended with err, or returns
// what the caller is told.
func (s *restartable) restart(failed *watched, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.final != nil:
		return s.final
	case s.now.Load() != failed:
		return nil // somebody else did
	}
	stream, err := s.openAgain(err)
	if err != nil {
		s.final = err
		s.call.end(err)
		return err
	}
	s.now.Store(&watched{ClientStream: stream, call: s.call})
	s.call.handOut()
	return nil
}

// openAgain is called with mu held.
func (s *restartable) openAgain(err error) (grpc.ClientStream, error) {
	again, err := s.call.again(err, true)
	if !again {
		return nil, err
	}
	s.call.reopen()
	stream, err := s.call.openStream(s.open)
	if err != nil {
		return nil, err
	}
	return stream, s.resend(stream)
}

// resend sends what was sent on the stream before. It is called with mu held.
func (s *restartable) resend(stream grpc.ClientStream) error {
	if s.request != nil {
		if err := stream.SendMsg(s.request); err != nil {
			return err
		}
	}
	if s.closed {
		return stream.CloseSend()
	}
	return nil
}

// reopen takes the stream back from the caller.
func (c *call) reopen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unwatchLocked()
	c.stream.opened = false
}

// watchLocked ends a call that waits for its caller, who may have gone away or
// have closed the ClientConn. err is what its stream ended with.
func (c *call) watchLocked(err error) {
	gone := context.AfterFunc(c.Context, func() { c.end(status.FromContextError(c.Err()).Err()) })
	closed := context.AfterFunc(c.stream.policy.open, func() { c.end(err) })
	c.stream.unwatch = func() {
		gone()
		closed()
	}
}

func (c *call) unwatchLocked() {
	if c.stream.unwatch != nil {
		c.stream.unwatch()
		c.stream.unwatch = nil
	}
}
