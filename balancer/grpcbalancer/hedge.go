package grpcbalancer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fairlead-go/fairlead/balancer"
)

// Why an invocation was cancelled whose call was answered by another.
var (
	errOvertaken = errors.New("grpcbalancer: a hedge answered the call")
	errNotNeeded = errors.New("grpcbalancer: the call was answered without its hedge")
)

// hedge is a call's first invocation and, if that takes long, a second beside it. It
// is the Mesh's hedge of HTTP over gRPC's invocations, by the same rules.
type hedge struct {
	call   *call
	wait   time.Duration // until the second; 0: there will be none
	method string
	req    proto.Message
	reply  proto.Message // the first's
	kind   protoreflect.MessageType
	cc     *grpc.ClientConn
	invoke grpc.UnaryInvoker
	opts   []grpc.CallOption
	done   chan struct{} // closed when the second, if it was sent, has come to something

	mu     sync.Mutex // of this call alone
	over   bool       // nobody wants a second, or its answer; guarded by mu
	won    bool       // the second has answered the call; guarded by mu
	second *second    // nil until sent; guarded by mu
}

// second is the second invocation: a call of its own to the pickers.
type second struct {
	call     call
	req      proto.Message // a copy: the call may be over, and the caller's used again
	reply    proto.Message
	bring    func() // what was told besides the reply
	err      error
	panicked bool
	outcome  balancer.Outcome
	node     *balancer.Node // it was on, nil where it never was
}

// hedged returns the hedge of a call, nil where it is not to have one.
func (c *call) hedged(req, reply any) *hedge {
	if c.round > 0 {
		return nil
	}
	request, known := req.(proto.Message)
	message, ok := reply.(proto.Message)
	if !known || !ok {
		return nil
	}
	wait, ok := c.core.Hedged()
	if !ok {
		return nil
	}
	return &hedge{call: c, wait: wait, req: request, reply: message, kind: message.ProtoReflect().Type(), done: make(chan struct{})}
}

// run makes the first invocation, and the second where that takes too long. The
// error is that of the one that the call is to be judged by.
func (h *hedge) run() error {
	c := h.call
	whole := false
	defer func() {
		if !whole {
			h.cancel() // code of the user's panicked
		}
	}()
	ctx := c.prepareHedged()
	began := time.Now()
	if h.wait > 0 {
		timer := time.AfterFunc(h.wait, h.send)
		defer timer.Stop()
	}
	err := h.invoke(ctx, h.method, h.req, h.reply, h.cc, h.opts...)
	c.finishInvocation()
	answered := c.answered(err)
	if took := time.Since(began); answered || took >= h.wait && h.wait > 0 {
		c.core.ObserveHedge(took)
	}
	err = h.choose(err, answered)
	whole = true
	return err
}

// prepareHedged is prepare for a first invocation that can be overtaken.
func (c *call) prepareHedged() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roundLocked()
	c.core.Prepare(true)
	return c.stoppableLocked()
}

// answered reports whether an invocation brought an answer that is worth not
// waiting for another.
func (c *call) answered(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return err == nil || c.sent && (c.outcome.Verdict == balancer.Success || c.outcome.Verdict == balancer.Suspect)
}

// choose is called when the first invocation has come to something.
func (h *hedge) choose(err error, answered bool) error {
	h.mu.Lock()
	s, won := h.second, h.won
	h.mu.Unlock()
	if s == nil || answered && !won {
		if h.cancel() {
			return err
		}
		s = h.second // it was faster by a moment
	}
	<-h.done
	if h.won {
		h.take(s)
		return s.err
	}
	h.call.mu.Lock()
	defer h.call.mu.Unlock()
	if s.node != nil {
		h.call.core.Info().Avoid(s.node)
	}
	return err
}

// take makes the second invocation's answer the call's.
func (h *hedge) take(s *second) {
	c := h.call
	c.mu.Lock()
	c.sent, c.outcome, c.node = true, s.outcome, s.node
	c.mu.Unlock()
	c.late.Store(false)
	s.bring()
	if s.err == nil {
		proto.Reset(h.reply)
		proto.Merge(h.reply, s.reply)
	}
}

// cancel ends the second invocation, or sees to it that there will be none. It
// reports false where that one has answered meanwhile.
func (h *hedge) cancel() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.won {
		return false
	}
	h.over = true
	if h.second != nil {
		h.second.call.stopFor(errNotNeeded)
	}
	return true
}

// stopFor cancels the call's invocation, unless it has ended.
func (c *call) stopFor(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		c.stop(cause)
		c.stop = nil // a time limit that runs out now is nobody's failure
	}
}

// send makes the second invocation, on a goroutine of its own.
func (h *hedge) send() {
	s, ctx := h.begin()
	if s == nil {
		return
	}
	defer close(h.done)
	opts, bring := aside(h.opts)
	s.bring = bring
	s.err = h.invokeSafely(ctx, s, opts)
	s.call.finishInvocation()
	h.end(s)
}

// begin returns the second invocation and its context, nil where there is to be none.
func (h *hedge) begin() (*second, context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.over || !c.sent || c.stream.current == nil || c.stream.current.lease.Probe() {
		return nil, nil
	}
	s := &second{reply: h.kind.New().Interface()}
	if !c.core.Hedge(&s.call.core, c.node, c.policy.view) {
		return nil, nil
	}
	s.req = proto.Clone(h.req)
	s.call.Context = c.Context
	s.call.core.Info().Context = &s.call
	h.second = s
	s.call.roundLocked()
	return s, s.call.stoppableLocked()
}

// invokeSafely turns a panic of the user's code into an error: nobody of theirs
// could recover on this goroutine.
func (h *hedge) invokeSafely(ctx context.Context, s *second, opts []grpc.CallOption) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked = true
			h.call.core.Logger().Error("grpcbalancer: panic in a hedge",
				"service", h.call.core.ServiceName(), "method", h.method, "panic", v, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, fmt.Sprintf("grpcbalancer: panic: %v", v))
		}
	}()
	return h.invoke(ctx, h.method, s.req, s.reply, h.cc, opts...)
}

// end is called when the second invocation has come to something.
func (h *hedge) end(s *second) {
	answered := s.call.answered(s.err) && !s.panicked
	s.call.mu.Lock()
	s.outcome, s.node = s.call.outcome, s.call.node
	s.call.mu.Unlock()
	s.call.core.End(int(status.Code(s.err)), s.err, s.outcome)
	h.mu.Lock()
	h.won = answered && !h.over
	result := "failed"
	switch {
	case h.won:
		result = "won"
		h.call.stopFor(errOvertaken)
	case h.over:
		result = "lost"
	}
	h.mu.Unlock()
	s.call.core.Telemetry().Hedge(h.call.Context, h.call.core.ServiceName(), result)
}
