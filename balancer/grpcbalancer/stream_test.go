package grpcbalancer_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/retry"
)

// errBusy is what a stream fails with that may be opened again.
var errBusy = status.Error(codes.Unavailable, "as the test wants it")

// failsAtOnce is a stream without a response.
func failsAtOnce(grpc.ServerStream) error { return errBusy }

// echo answers each message of a stream.
func echo(stream grpc.ServerStream) error {
	for {
		var m health.HealthCheckRequest
		if err := stream.RecvMsg(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
	}
}

// open opens a stream of responses.
func open(ctx context.Context, t *testing.T, f *fleet) health.Health_WatchClient {
	t.Helper()
	stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// both is a stream in both directions.
var both = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func openBoth(ctx context.Context, t *testing.T, f *fleet) grpc.ClientStream {
	t.Helper()
	stream, err := f.conn.NewStream(ctx, both, "/grpcbalancertest.Orders/Talk")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// streams has all backends serve streams: n is how many they have seen together.
func (f *fleet) streams(serve func(n int64, stream grpc.ServerStream) error) {
	f.each(func(b *backend) {
		b.streams(func(stream grpc.ServerStream) error {
			total, _ := f.calls()
			return serve(total, stream)
		})
	})
}

func TestStreamOfResponsesIsOpenedAgain(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(safe))
	f.streams(func(n int64, stream grpc.ServerStream) error {
		if n == 1 {
			return errBusy
		}
		if len(metadata.ValueFromIncomingContext(stream.Context(), "of-the-caller")) != 1 {
			return status.Error(codes.Internal, "no metadata")
		}
		for range 3 {
			if err := stream.SendMsg(&health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}); err != nil {
				return err
			}
		}
		stream.SetTrailer(metadata.Pairs("end", "good"))
		return nil
	})
	stream := open(metadata.AppendToOutgoingContext(t.Context(), "of-the-caller", "x"), t, f)
	for range 3 {
		if m, err := stream.Recv(); err != nil || m.GetStatus() != health.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v", m, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want a good end", err)
	}
	if got := stream.Trailer().Get("end"); len(got) != 1 {
		t.Errorf("trailer %v, want the second attempt's", stream.Trailer())
	}
	if total, most := f.calls(); total != 2 || most != 1 {
		t.Errorf("%d attempts, up to %d on one; want 2 on two", total, most)
	}
	f.idle(t)
}

// The request is sent again as it was, and so is its end.
func TestRequestOfAStreamIsSentAgain(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(retry.Config{Safe: always, Attempts: 3}))
	var mu sync.Mutex
	var requests []string
	f.streams(func(n int64, stream grpc.ServerStream) error {
		var req health.HealthCheckRequest
		if err := stream.RecvMsg(&req); err != nil {
			return err
		}
		mu.Lock()
		requests = append(requests, req.GetService())
		mu.Unlock()
		if err := stream.RecvMsg(&req); !errors.Is(err, io.EOF) {
			return status.Errorf(codes.Internal, "after the request %v", err)
		}
		if n < 3 {
			return errBusy
		}
		return stream.SendMsg(&req)
	})
	down := &grpc.StreamDesc{ServerStreams: true}
	stream, err := f.conn.NewStream(t.Context(), down, "/grpcbalancertest.Orders/List")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&health.HealthCheckRequest{Service: "all"}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&health.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&health.HealthCheckRequest{}); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want a good end", err)
	}
	if len(requests) != 3 || requests[0] != "all" || requests[1] != "all" || requests[2] != "all" {
		t.Errorf("the requests were %q, want the same three times", requests)
	}
	f.idle(t)
}

// Each row is a stream whose every attempt ends Unavailable.
func TestStreamsThatAreNotOpenedAgain(t *testing.T) {
	tests := []struct {
		name     string
		opts     []fairlead.Option
		desc     *grpc.StreamDesc
		messages int // before the end
		attempts int64
	}{
		{"safe", []fairlead.Option{fairlead.WithRetry(safe)}, &grpc.StreamDesc{ServerStreams: true}, 0, 2},
		{"not safe", nil, &grpc.StreamDesc{ServerStreams: true}, 0, 1},
		{"after a response", []fairlead.Option{fairlead.WithRetry(safe)}, &grpc.StreamDesc{ServerStreams: true}, 1, 1},
		{"of requests", []fairlead.Option{fairlead.WithRetry(safe)}, &grpc.StreamDesc{ClientStreams: true}, 0, 1},
		{"in both directions", []fairlead.Option{fairlead.WithRetry(safe)}, both, 0, 1},
		{"in both directions, after a response", []fairlead.Option{fairlead.WithRetry(safe)}, both, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, 3, tt.opts...)
			f.streams(func(_ int64, stream grpc.ServerStream) error {
				if err := stream.RecvMsg(&health.HealthCheckRequest{}); err != nil {
					return err
				}
				for range tt.messages {
					if err := stream.SendMsg(&health.HealthCheckResponse{}); err != nil {
						return err
					}
				}
				return errBusy
			})
			stream, err := f.conn.NewStream(t.Context(), tt.desc, "/grpcbalancertest.Orders/Stream")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(stream.SendMsg(&health.HealthCheckRequest{}), stream.CloseSend()); err != nil {
				t.Fatal(err)
			}
			for range tt.messages {
				if err := stream.RecvMsg(&health.HealthCheckResponse{}); err != nil {
					t.Fatal(err)
				}
			}
			err = stream.RecvMsg(&health.HealthCheckResponse{})
			if s, ok := status.FromError(err); !ok || s.Code() != codes.Unavailable || s.Message() != "as the test wants it" {
				t.Errorf("%v, want the endpoint's word", err)
			}
			if total, most := f.calls(); total != tt.attempts || most != 1 {
				t.Errorf("%d attempts, up to %d on one; want %d", total, most, tt.attempts)
			}
			if err := stream.RecvMsg(&health.HealthCheckResponse{}); status.Code(err) != codes.Unavailable {
				t.Errorf("asked again it says %v", err)
			}
			f.idle(t)
		})
	}
}

// An open breaker is closed by a stream's first response, while the stream goes on.
func TestVerdictAtTheFirstResponse(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}))
	b := f.backends[0]
	b.code.Store(uint32(codes.Unavailable))
	callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, b).Breaker != "closed" })
	eventually(t, "it waits for a probe", func() bool { return f.endpoint(t, b).State == balancer.HalfOpen })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := open(ctx, t, f)
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if e := f.endpoint(t, b); e.Breaker != "closed" || e.InFlight != 1 {
		t.Errorf("%+v, want it closed and the stream in flight", e)
	}
}

// The same by its headers alone.
func TestVerdictAtTheHeaders(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}))
	b := f.backends[0]
	b.code.Store(uint32(codes.Unavailable))
	callUntil(t, f.conn, "its breaker opens", func() bool { return f.endpoint(t, b).Breaker != "closed" })
	eventually(t, "it waits for a probe", func() bool { return f.endpoint(t, b).State == balancer.HalfOpen })
	b.streams(func(stream grpc.ServerStream) error {
		if err := stream.SendHeader(metadata.Pairs("from", b.addr)); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := openBoth(ctx, t, f)
	if md, err := stream.Header(); err != nil || len(md.Get("from")) != 1 {
		t.Fatalf("%v, %v", md, err)
	}
	if e := f.endpoint(t, b); e.Breaker != "closed" || e.InFlight != 1 {
		t.Errorf("%+v, want it closed and the stream in flight", e)
	}
}

// Header waits for a stream that has one, where that may be opened again.
func TestHeaderFirst(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(safe))
	f.streams(func(n int64, stream grpc.ServerStream) error {
		if n == 1 {
			return errBusy
		}
		if err := stream.SendHeader(metadata.Pairs("attempt", "second")); err != nil {
			return err
		}
		return stream.SendMsg(&health.HealthCheckResponse{})
	})
	stream := open(t.Context(), t, f)
	if md, err := stream.Header(); err != nil || len(md.Get("attempt")) != 1 {
		t.Errorf("the headers are %v, %v, want the second attempt's", md, err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Errorf("then %v, want the second attempt's response", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want a good end", err)
	}
	f.idle(t)
}

// Where there is no second attempt's either, Recv says why, as gRPC has it.
func TestHeaderOfNoResponse(t *testing.T) {
	f := newFleet(t, 3, fairlead.WithRetry(safe))
	f.streams(func(int64, grpc.ServerStream) error { return errBusy })
	stream := open(t.Context(), t, f)
	if md, err := stream.Header(); md != nil || err != nil {
		t.Errorf("the headers are %v, %v, want none and no error", md, err)
	}
	for range 2 {
		if _, err := stream.Recv(); status.Code(err) != status.Code(errBusy) {
			t.Errorf("%v, want %v", err, errBusy)
		}
	}
	if total, _ := f.calls(); total != 2 {
		t.Errorf("%d attempts, want 2", total)
	}
	f.idle(t)
}

// A stream that breaks off after a good beginning is one more failure.
func TestStreamThatBreaksOff(t *testing.T) {
	f := newFleet(t, 3, forGood, fairlead.WithRetry(safe))
	bad := f.backends[0]
	bad.streams(func(stream grpc.ServerStream) error {
		if err := stream.SendMsg(&health.HealthCheckResponse{}); err != nil {
			return err
		}
		return errBusy
	})
	f.each(func(b *backend) {
		if b != bad {
			b.streams(func(stream grpc.ServerStream) error { return stream.SendMsg(&health.HealthCheckResponse{}) })
		}
	})
	eventually(t, "its breaker opens", func() bool {
		stream := open(t.Context(), t, f)
		_, err := stream.Recv()
		for err == nil {
			_, err = stream.Recv()
		}
		return f.endpoint(t, bad).Breaker == "open"
	})
	if n := bad.calls.Load(); n != 5 {
		t.Errorf("it opened after %d streams, want 5", n)
	}
	f.idle(t)
}

func TestCallerGoneFromItsStream(t *testing.T) {
	never := fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour})
	for name, messages := range map[string]int{"before the first response": 0, "after it": 1} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 1, never, fairlead.WithRetry(safe))
			b := f.backends[0]
			b.streams(func(stream grpc.ServerStream) error {
				for range messages {
					if err := stream.SendMsg(&health.HealthCheckResponse{}); err != nil {
						return err
					}
				}
				b.waiting.Add(1)
				defer b.waiting.Add(-1)
				<-stream.Context().Done()
				return errBusy
			})
			for range 10 {
				ctx, cancel := context.WithCancelCause(t.Context())
				stream := open(ctx, t, f)
				for range messages {
					if _, err := stream.Recv(); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the stream is served", func() bool { return b.waiting.Load() == 1 })
				cancel(errors.New("gone"))
				if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
					t.Errorf("%v, want the caller's cancel", err)
				}
				eventually(t, "the server knows", func() bool { return b.waiting.Load() == 0 })
			}
			if e := f.endpoint(t, b); e.Breaker != "closed" {
				t.Errorf("%+v", e)
			}
			if total, _ := f.calls(); total != 10 {
				t.Errorf("%d attempts of 10 streams", total)
			}
			f.idle(t)
		})
	}
}

// A stream that waits for its caller to have it opened again ends with its
// context, and with its ClientConn.
func TestStreamThatWaitsToBeOpenedAgain(t *testing.T) {
	wait := func(t *testing.T) (*fleet, context.CancelFunc) {
		f := newFleet(t, 3, fairlead.WithRetry(safe))
		f.each(func(b *backend) { b.streams(failsAtOnce) })
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		stream := open(ctx, t, f)
		if md, err := stream.Header(); md != nil || err != nil { // its end is known from here on
			t.Fatalf("%v, %v", md, err)
		}
		return f, cancel
	}
	end := func(t *testing.T, f *fleet) {
		t.Helper()
		f.idle(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := f.mesh.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	t.Run("cancelled", func(t *testing.T) {
		f, cancel := wait(t)
		cancel()
		end(t, f)
	})
	t.Run("the ClientConn is closed", func(t *testing.T) {
		f, _ := wait(t)
		f.conn.Close()
		end(t, f)
	})
}

func TestClientConnClosedUnderStreams(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}))
	b := f.backends[0]
	b.streams(func(stream grpc.ServerStream) error {
		b.waiting.Add(1)
		defer b.waiting.Add(-1)
		if method, _ := grpc.MethodFromServerStream(stream); method == health.Health_Watch_FullMethodName {
			<-stream.Context().Done()
			return nil
		}
		return echo(stream)
	})
	var streams []grpc.ClientStream
	for range 10 {
		streams = append(streams, open(t.Context(), t, f), openBoth(t.Context(), t, f))
	}
	eventually(t, "all are served", func() bool { return b.waiting.Load() == 20 })
	if n := f.inFlight(); n != 40 {
		t.Errorf("%d calls and attempts in flight, want 20 each", n)
	}
	f.conn.Close()
	f.idle(t)
	for _, s := range streams {
		if err := s.RecvMsg(&health.HealthCheckRequest{}); status.Code(err) != codes.Canceled {
			t.Errorf("%v", err)
		}
	}
	if e := f.endpoint(t, b); e.Breaker != "closed" {
		t.Errorf("%+v", e)
	}
}

// One goroutine sends and another receives, as gRPC allows, also where the
// stream is opened again meanwhile.
func TestSendAndReceiveTogether(t *testing.T) {
	t.Run("in both directions", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(safe))
		f.each(func(b *backend) { b.streams(echo) })
		var streams sync.WaitGroup
		for range 8 {
			stream := openBoth(t.Context(), t, f)
			streams.Go(func() {
				for range 50 {
					if err := stream.SendMsg(&health.HealthCheckRequest{Service: "x"}); err != nil {
						t.Error(err)
					}
				}
				if err := stream.CloseSend(); err != nil {
					t.Error(err)
				}
			})
			streams.Go(func() {
				n, err := 0, error(nil)
				for ; err == nil; n++ {
					err = stream.RecvMsg(&health.HealthCheckRequest{})
				}
				if n != 51 || !errors.Is(err, io.EOF) {
					t.Errorf("%d answers, then %v", n-1, err)
				}
			})
		}
		streams.Wait()
		f.idle(t)
	})
	t.Run("while it is opened again", func(t *testing.T) {
		f := newFleet(t, 3, fairlead.WithRetry(safe), fairlead.WithoutBreaker())
		var failing sync.Mutex
		failed := 0
		f.each(func(b *backend) {
			b.streams(func(stream grpc.ServerStream) error {
				failing.Lock()
				failed++
				odd := failed%2 == 1
				failing.Unlock()
				if odd {
					return errBusy
				}
				return echo(stream)
			})
		})
		down := &grpc.StreamDesc{ServerStreams: true}
		for range 10 { // as many as the budget pays for
			stream, err := f.conn.NewStream(t.Context(), down, "/grpcbalancertest.Orders/List")
			if err != nil {
				t.Fatal(err)
			}
			var streams sync.WaitGroup
			streams.Go(func() {
				if err := stream.SendMsg(&health.HealthCheckRequest{Service: "x"}); err != nil {
					t.Error(err)
				}
				if err := stream.CloseSend(); err != nil {
					t.Error(err)
				}
			})
			streams.Go(func() {
				var m health.HealthCheckRequest
				if err := stream.RecvMsg(&m); err != nil || m.GetService() != "x" {
					t.Errorf("%v, %v", &m, err)
				}
				if err := stream.RecvMsg(&m); !errors.Is(err, io.EOF) {
					t.Errorf("%v, want a good end", err)
				}
			})
			streams.Wait()
		}
		f.idle(t)
	})
}

// What the caller has called at the end may use the stream.
func TestOnFinishMayUseTheStream(t *testing.T) {
	f := newFleet(t, 2, fairlead.WithRetry(safe))
	f.streams(func(int64, grpc.ServerStream) error { return errBusy })
	var stream grpc.ServerStreamingClient[health.HealthCheckResponse]
	finished := 0
	finish := grpc.OnFinish(func(error) {
		finished++
		_, _ = stream.Header()
		_ = stream.CloseSend()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := health.NewHealthClient(f.conn).Watch(ctx, &health.HealthCheckRequest{}, finish)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != status.Code(errBusy) {
		t.Errorf("%v, want %v", err, errBusy)
	}
	if finished != 1 {
		t.Errorf("finished %d times, want once", finished)
	}
	f.idle(t)
}

// A unary request that cannot be sent is nobody's fault, and not tried twice.
func TestRequestThatIsTooLarge(t *testing.T) {
	f := newFleet(t, 2, fairlead.WithRetry(safe))
	before := f.mesh.Status().Services[0].RetryBudget
	for range 30 {
		err := check(t.Context(), f.conn, grpc.MaxCallSendMsgSize(-1))
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("%v, want that the request is too large", err)
		}
	}
	if after := f.mesh.Status().Services[0].RetryBudget; after < before {
		t.Errorf("the budget has %v, and had %v", after, before)
	}
	for _, e := range f.mesh.Status().Services[0].Endpoints {
		if e.State != balancer.Ready {
			t.Errorf("%+v", e)
		}
	}
	f.idle(t)
}

// A request that cannot be sent is the end of the call: nobody has its stream.
func TestRequestThatCannotBeSent(t *testing.T) {
	f := newFleet(t, 1, fairlead.WithRetry(safe))
	_, err := health.NewHealthClient(f.conn).Watch(context.WithoutCancel(t.Context()), &health.HealthCheckRequest{Service: "too long"}, grpc.MaxCallSendMsgSize(1))
	if status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("%v, want that the request is too large", err)
	}
	f.idle(t)
}
