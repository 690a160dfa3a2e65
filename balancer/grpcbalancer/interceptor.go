package grpcbalancer

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/tracing"
)

// interceptors make calls of what a ClientConn of their Mesh is asked for.
type interceptors struct {
	mesh    *fairlead.Mesh // nil is told by the resolver
	targets memory[string] // a ClientConn's target → the service's name
	safe    memory[bool]   // a method → whether it is declared idempotent
}

// unary makes a unary call: one invocation after the other until one of them
// answers it, or none will.
func (i *interceptors) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	c, err := i.begin(ctx, cc, method, false, false)
	if err != nil {
		return err
	}
	if c == nil {
		return i.explain(cc, invoke(withoutCall(ctx), method, req, reply, cc, opts...))
	}
	whole := false
	defer func() {
		if !whole {
			c.abandon()
		}
	}()
	opts, c.finish = finishers(opts)
	if err := c.admit(); err != nil {
		whole = true
		c.end(err)
		return err
	}
	for {
		if err = c.once(method, req, reply, cc, invoke, opts); err == nil {
			break
		}
		var again bool
		if again, err = c.again(err, true); !again {
			break
		}
	}
	whole = true
	c.end(err)
	return err
}

// once makes an invocation, with its hedge if it is to have one, as soon as there is
// room for it.
func (c *call) once(method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts []grpc.CallOption) (err error) {
	alone := func() error {
		defer c.leaveRoom()
		err := invoke(c.prepare(true), method, req, reply, cc, opts...)
		c.finishInvocation()
		return err
	}
	if h := c.hedged(req, reply); h != nil {
		h.method, h.cc, h.invoke, h.opts = method, cc, invoke, opts
		err = h.run()
	} else {
		err = alone()
	}
	return c.inTurn(err, alone)
}

// open makes a call that is a stream.
func (i *interceptors) open(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c, err := i.begin(ctx, cc, method, true, !desc.ClientStreams)
	if err != nil {
		return nil, err
	}
	if c == nil {
		stream, err := streamer(withoutCall(ctx), desc, cc, method, opts...)
		return stream, i.explain(cc, err)
	}
	defer c.abandonUnlessOpened()
	opts, c.finish = finishers(opts)
	if err := c.admit(); err != nil {
		c.end(err)
		return nil, err
	}
	opts = withOnFinish(opts, c.streamFinished)
	open := func(ctx context.Context) (grpc.ClientStream, error) { return streamer(ctx, desc, cc, method, opts...) }
	stream, err := c.openStream(open)
	if err != nil {
		c.end(err)
		return nil, err
	}
	first := &watched{ClientStream: stream, call: c}
	c.handOut()
	if !c.stream.restartable {
		return first, nil
	}
	s := &restartable{call: c, open: open}
	s.now.Store(first)
	return s, nil
}

// begin begins a call. There is none where the ClientConn is none of ours, or its
// service is not to be had: the ClientConn says why, or waits.
func (i *interceptors) begin(ctx context.Context, cc *grpc.ClientConn, method string, stream, restartable bool) (*call, error) {
	name := i.targets.get(cc.Target(), serviceOf)
	if name == "" || i.mesh == nil {
		return nil, nil
	}
	c := &call{}
	err := i.mesh.Begin(ctx, &c.core, name, fairlead.CallInfo{Method: method, Safe: i.safe.get(method, declaredIdempotent), Stream: stream})
	switch {
	case errors.Is(err, fairlead.ErrClosed):
		return nil, unavailable(explain(name, err))
	case err != nil:
		return nil, nil // it comes again, by way of the ClientConn
	}
	whole := false
	defer func() {
		if !whole {
			c.end(nil) // code of the user's panicked
		}
	}()
	c.Context = c.core.Context()
	c.stream.is, c.stream.restartable = stream, restartable
	c.core.Info().Context = c
	if c.core.Traced() || c.willInject() {
		c.Context = withoutFields(c.Context, c.core.Telemetry())
	}
	whole = true
	return c, nil
}

// explain gives the error of what was no call, for want of its service, the chain
// that it lost on its way through gRPC.
func (i *interceptors) explain(cc *grpc.ClientConn, err error) error {
	name := i.targets.get(cc.Target(), serviceOf)
	if name == "" || i.mesh == nil || status.Code(err) != codes.Unavailable {
		return err
	}
	service, why := i.mesh.Hold(name)
	if why == nil {
		service.Close() // it is to be had by now
		return err
	}
	return &callError{explain(name, why), status.Convert(err)}
}

// withoutCall hides the call in whose course another is made that is none.
func withoutCall(ctx context.Context) context.Context {
	if callOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, callKey{}, (*call)(nil))
}

// withoutFields takes out of the metadata to be sent what the propagator will
// put there: a trace context that was copied from elsewhere.
func withoutFields(ctx context.Context, t *tracing.Telemetry) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok || !slices.ContainsFunc(t.Fields(), func(key string) bool { return md[key] != nil }) {
		return ctx
	}
	var written try
	t.Inject(ctx, (*carrier)(&written))
	for key := range written.md {
		delete(md, key)
	}
	if written.md["traceparent"] != nil {
		delete(md, "tracestate") // that of another's
	}
	return metadata.NewOutgoingContext(ctx, md)
}
