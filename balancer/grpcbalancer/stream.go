package grpcbalancer

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/balancer"
)

// streamState is what a call that is a stream has besides. What it is never
// changes once the call has begun; all else is guarded by the call's mu.
type streamState struct {
	is          bool
	restartable bool   // it may be opened again until its first response
	opened      bool   // the caller has it
	answered    bool   // there was a response
	finished    bool   // gRPC's stream is over, by err
	err         error  // nil for a good end
	current     *try   // the attempt under way
	unwatch     func() // ends the watch over one that waits to be opened again
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
	closed := context.AfterFunc(c.policy.open, func() { c.end(err) })
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
