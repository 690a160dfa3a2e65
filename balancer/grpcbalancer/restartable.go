package grpcbalancer

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
)

// restartable is a stream of responses to one request: until the first of them
// it may be opened again, on another endpoint. It keeps the request for as long.
type restartable struct {
	call *call
	open opener
	now  atomic.Pointer[watched] // written under mu

	mu         sync.Mutex    // never held while anything waits
	sends      int           // calls of SendMsg; guarded by mu
	request    any           // that of the last of them, nil when it is no longer needed; guarded by mu
	closed     bool          // CloseSend was called; guarded by mu
	final      error         // it is not opened again because of that; guarded by mu
	restarting chan struct{} // closed when the restart under way is over, nil while there is none; guarded by mu
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
	s.sends++
	s.request = m
	stream := s.now.Load()
	s.mu.Unlock()
	err := stream.SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.final = err // gRPC has ended the stream, and its caller need not come back
		s.mu.Unlock()
		s.call.end(err)
	}
	return err
}

func (s *restartable) CloseSend() error {
	s.mu.Lock()
	s.closed = true
	stream := s.now.Load()
	s.mu.Unlock()
	return stream.CloseSend()
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
	mine, final := s.takeTurn(failed)
	if !mine {
		return final
	}
	whole := false
	defer func() {
		if !whole { // code of the user's panicked
			s.endTurn(err)
			s.call.abandon()
		}
	}()
	err = s.openAgain(err)
	whole = true
	s.endTurn(err)
	if err != nil {
		s.call.end(err)
		return err
	}
	s.call.handOut()
	return nil
}

// takeTurn makes its caller the one who opens the stream again. Else it returns
// what became of that when somebody else did: nil where there is another stream.
func (s *restartable) takeTurn(failed *watched) (mine bool, final error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.restarting != nil {
		over := s.restarting
		s.mu.Unlock()
		<-over
		s.mu.Lock()
	}
	if s.final != nil || s.now.Load() != failed {
		return false, s.final
	}
	s.restarting = make(chan struct{})
	return true, nil
}

func (s *restartable) endTurn(final error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final == nil {
		s.final = final
	}
	close(s.restarting)
	s.restarting = nil
}

func (s *restartable) openAgain(err error) error {
	again, err := s.call.again(err, true)
	if !again {
		return err
	}
	s.call.reopen()
	stream, err := s.call.openStream(s.open)
	if err != nil {
		return err
	}
	return s.bringUp(&watched{ClientStream: stream, call: s.call})
}

// bringUp sends on a new stream what was sent on the one before, also meanwhile,
// and puts it in its place.
func (s *restartable) bringUp(next *watched) error {
	for sends, closed := 0, false; ; {
		s.mu.Lock()
		request, due, closing := s.request, s.sends, s.closed
		if sends == due && closed == closing {
			s.now.Store(next)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if sends != due {
			if err := next.SendMsg(request); err != nil {
				return err
			}
			sends = due
		}
		if closing && !closed {
			if err := next.CloseSend(); err != nil {
				return err
			}
			closed = true
		}
	}
}
