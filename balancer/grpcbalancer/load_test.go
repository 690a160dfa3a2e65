package grpcbalancer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/retry"
)

// The methods of a server process; see onlyReads.
const (
	reads  = testpb.TestService_CacheableUnaryCall_FullMethodName
	writes = testpb.TestService_UnaryCall_FullMethodName
)

// onlyReads says that the calls which only read may be sent again.
func onlyReads(timing retry.Config) retry.Config {
	timing.Safe = func(_ context.Context, _, path string) bool { return path == reads }
	return timing
}

// load is callers that call server processes without pause.
type load struct {
	t       *testing.T
	stop    chan struct{}
	callers sync.WaitGroup

	mu       sync.Mutex
	calls    int            // guarded by mu
	answered map[string]int // by the server's id; guarded by mu
	failed   []error        // guarded by mu
}

// startLoad starts callers, of which each uses one of the methods. One call in
// fifty takes long.
func startLoad(t *testing.T, conn *grpc.ClientConn, callers int, methods ...string) *load {
	l := &load{t: t, stop: make(chan struct{}), answered: make(map[string]int)}
	for i := range callers {
		l.callers.Go(func() { l.keepCalling(conn, methods[i%len(methods)]) })
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) keepCalling(conn *grpc.ClientConn, method string) {
	for n := 1; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		req := &testpb.SimpleRequest{}
		if n%50 == 0 {
			req.ResponseSize = 1
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		resp := &testpb.SimpleResponse{}
		err := conn.Invoke(ctx, method, req, resp)
		cancel()
		if err != nil {
			err = fmt.Errorf("%s: %w", method, err)
		}
		l.count(resp.GetServerId(), err)
	}
}

func (l *load) count(by string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.answered[by]++
}

func (l *load) answers(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered[id]
}

// awaitAnswers waits until the server has answered some more calls.
func (l *load) awaitAnswers(id string) {
	l.t.Helper()
	before := l.answers(id)
	eventually(l.t, "the server "+id+" is called", func() bool { return l.answers(id) > before+20 })
}

// end lets the callers finish their calls.
func (l *load) end() (calls int, failed []error) {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.callers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls, l.failed
}

// mustEnd is end where no call may have failed.
func (l *load) mustEnd() {
	l.t.Helper()
	calls, failed := l.end()
	l.t.Logf("%d calls, %d errors", calls, len(failed))
	if len(failed) > 0 {
		l.t.Errorf("%d of %d calls failed, want none; the first: %v", len(failed), calls, failed[0])
	}
}

// streams are long streams, of which one that ends is followed by another.
type streams struct {
	t       *testing.T
	conn    *grpc.ClientConn
	ctx     context.Context
	running sync.WaitGroup

	mu      sync.Mutex
	all     []*longStream // in the order of their first messages; guarded by mu
	unheard []unheard     // guarded by mu
	bad     []error       // what no stream should do; guarded by mu
}

// unheard is a stream that ended before its first message.
type unheard struct {
	at  peer.Peer
	end error
}

// longStream is one that had a first message.
type longStream struct {
	id       string // of its server
	received int    // guarded by streams.mu
	end      error  // nil while it lasts; guarded by streams.mu
}

// startStreams returns streams of which each of the servers has two at least.
func startStreams(t *testing.T, conn *grpc.ClientConn, processes []*process) *streams {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &streams{t: t, conn: conn, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		s.running.Wait()
	})
	s.reach(processes)
	return s
}

// reach opens streams until each of the servers has two.
func (s *streams) reach(processes []*process) {
	s.t.Helper()
	const most = 200
	for range most {
		count := make(map[string]int)
		for _, l := range s.lasting() {
			count[l.id]++
		}
		if !slices.ContainsFunc(processes, func(p *process) bool { return count[p.id] < 2 }) {
			return
		}
		opened := make(chan struct{})
		s.running.Go(func() { s.keepListening(len(count)%2 == 0, sync.OnceFunc(func() { close(opened) })) })
		select {
		case <-opened:
		case <-s.ctx.Done():
		}
	}
	s.t.Fatalf("%d streams do not reach each of %d servers", most, len(processes))
}

func (s *streams) keepListening(bidi bool, opened func()) {
	for s.ctx.Err() == nil {
		s.listen(bidi, opened)
	}
	opened()
}

// listen opens a stream and hears it to its end.
func (s *streams) listen(bidi bool, opened func()) {
	stream, at, err := s.open(bidi)
	var l *longStream
	for err == nil {
		var m *testpb.StreamingOutputCallResponse
		if m, err = stream.Recv(); err == nil {
			l = s.hear(l, string(m.GetPayload().GetBody()))
			opened()
		}
	}
	if s.ctx.Err() == nil {
		s.ended(l, at, err)
	}
}

func (s *streams) open(bidi bool) (grpc.ServerStreamingClient[testpb.StreamingOutputCallResponse], *peer.Peer, error) {
	client, at := testpb.NewTestServiceClient(s.conn), &peer.Peer{}
	if bidi {
		stream, err := client.FullDuplexCall(s.ctx, grpc.Peer(at))
		return stream, at, err
	}
	stream, err := client.StreamingOutputCall(s.ctx, &testpb.StreamingOutputCallRequest{}, grpc.Peer(at))
	return stream, at, err
}

// hear takes in a message: each comes once, in order, from one server.
func (s *streams) hear(l *longStream, message string) *longStream {
	var id string
	var n int
	_, err := fmt.Sscanf(message, "%s %d", &id, &n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil {
		l = &longStream{id: id}
		s.all = append(s.all, l)
	}
	l.received++
	if err != nil || id != l.id || n != l.received {
		s.bad = append(s.bad, fmt.Errorf("message %d from %s is %q", l.received, l.id, message))
	}
	return l
}

func (s *streams) ended(l *longStream, at *peer.Peer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil {
		s.unheard = append(s.unheard, unheard{*at, err})
		return
	}
	l.end = err
}

// lasting returns copies of the streams that have not ended.
func (s *streams) lasting() (all []longStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.all {
		if l.end == nil {
			all = append(all, *l)
		}
	}
	return all
}

// mustLast returns a function that fails the test unless all streams which last
// now, but for those to the server that goes, have had more messages since it
// was called and none has ended.
func (s *streams) mustLast(goes *process) (then func()) {
	s.t.Helper()
	var healthy []*longStream
	s.mu.Lock()
	for _, l := range s.all {
		if l.end == nil && l.id != goes.id {
			healthy = append(healthy, l)
		}
	}
	s.mu.Unlock()
	if len(healthy) < 8 {
		s.t.Errorf("%d streams on other servers, want 8 or more", len(healthy))
	}
	return func() {
		s.t.Helper()
		before := s.received(healthy)
		eventually(s.t, "all streams on other servers have more messages", func() bool {
			for i, n := range s.received(healthy) {
				if n < before[i]+5 {
					return false
				}
			}
			return true
		})
	}
}

// received returns how many messages each stream had, and fails the test for
// one that has ended.
func (s *streams) received(streams []*longStream) []int {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make([]int, len(streams))
	for i, l := range streams {
		if l.end != nil {
			s.t.Fatalf("the stream from %s ended after %d messages though its server stays: %v", l.id, l.received, l.end)
		}
		counts[i] = l.received
	}
	return counts
}

// mustHaveEnded checks those that have ended: only on servers that left, with
// the end that allow allows.
func (s *streams) mustHaveEnded(left map[string]bool, allow func(error) bool) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make(map[string]bool)
	for id := range left {
		addr, _, _ := strings.Cut(id, "#")
		addrs[addr] = true
	}
	ended := make(map[string]int)
	for _, l := range s.all {
		if l.end == nil {
			continue
		}
		ended[l.id]++
		if !left[l.id] || !allow(l.end) {
			s.t.Errorf("a stream from %s (which left: %t) ended after %d messages with %v", l.id, left[l.id], l.received, l.end)
		}
	}
	for id := range left {
		if ended[id] == 0 {
			s.t.Errorf("no stream was on %s when it left", id)
		}
	}
	for _, u := range s.unheard {
		if !allow(u.end) || !addrs[fmt.Sprint(u.at.Addr)] {
			s.t.Errorf("a stream to %v ended before its first message with %v", u.at.Addr, u.end)
		}
	}
	for _, err := range s.bad {
		s.t.Error(err)
	}
	s.t.Logf("%d streams, ended by server: %v; %d before their first message", len(s.all), ended, len(s.unheard))
}

// cleanly is the end of a stream whose server leaves properly.
func cleanly(err error) bool { return errors.Is(err, io.EOF) }

// brokenOff is the end of a stream whose server was killed.
func brokenOff(err error) bool { return status.Code(err) == codes.Unavailable }
