package fairlead_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// hangs answers when the caller goes away, or the server is closed.
func hangs(t testing.TB) http.HandlerFunc {
	closing := make(chan struct{})
	t.Cleanup(func() { close(closing) })
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-closing:
		}
	}
}

// cuts sends some of an answer and resets the connection.
func cuts(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = rw.WriteString(answer)
		_ = rw.Flush()
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

const halfAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it"

// settled checks that nothing is in flight and returns the endpoint's breaker.
func settled(t *testing.T, mesh *fairlead.Mesh) map[string]string {
	t.Helper()
	breakers := map[string]string{}
	eventually(t, "nothing is in flight", func() bool {
		for _, s := range mesh.Status().Services {
			if s.InFlight != 0 {
				return false
			}
			for _, e := range s.Endpoints {
				breakers[e.ID] = e.Breaker
				if e.InFlight != 0 {
					return false
				}
			}
		}
		return true
	})
	return breakers
}

// An endpoint of three hangs: with an attempt timeout callers notice nothing
// but the delay, and its breaker opens.
func TestEndpointHangs(t *testing.T) {
	bad, good, better := newServer(t, hangs(t)), newServer(t, hello), newServer(t, hello)
	mesh := newMesh(t, []*server{bad, good, better},
		fairlead.WithBalancer(balancer.RoundRobin()),
		fairlead.WithRetry(retry.Config{AttemptTimeout: 50 * time.Millisecond}))
	for range 60 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	if got := settled(t, mesh)[bad.addr]; got == "closed" {
		t.Error("the breaker of the hanging endpoint is closed, want it open or half-open")
	}
	if n := bad.calls.Load(); n > 10 {
		t.Errorf("the hanging endpoint had %d of 60 calls, want few", n)
	}
}

func TestAttemptTimeoutOfTheLastAttempt(t *testing.T) {
	s := newServer(t, hangs(t))
	mesh := newMesh(t, []*server{s}, fairlead.WithRetry(retry.Config{Attempts: 1, AttemptTimeout: 30 * time.Millisecond}))
	_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	var call *fairlead.CallError
	if !errors.As(err, &call) || call.Attempts != 1 || call.Endpoint != s.addr || call.Service != "users" {
		t.Errorf("error %#v, want a CallError of users with the endpoint and one attempt", err)
	}
	if !errors.Is(err, fairlead.ErrAttemptTimeout) || !errors.Is(err, context.DeadlineExceeded) || !call.Timeout() {
		t.Errorf("error %v, want ErrAttemptTimeout, a timeout", err)
	}
}

// The attempt timeout bounds the headers, not the body.
func TestAttemptTimeoutSparesTheBody(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			timer := time.NewTimer(20 * time.Millisecond)
			<-timer.C
		}
	})
	mesh := newMesh(t, []*server{s}, fairlead.WithRetry(retry.Config{AttemptTimeout: 100 * time.Millisecond}))
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != strings.Repeat("x", 10) {
		t.Errorf("body %q, want all ten x", got)
	}
}

func TestEndpointResetsBeforeTheHeaders(t *testing.T) {
	bad, good := newServer(t, cuts("")), newServer(t, hello)
	mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()))
	for range 40 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
	}
	if got := settled(t, mesh)[bad.addr]; got == "closed" {
		t.Error("the breaker is closed, want it open")
	}
}

// A body that breaks off is the caller's to see; and it is scored, although
// every verdict at the headers was good.
func TestBodyBreaksOff(t *testing.T) {
	bad, good := newServer(t, cuts(halfAnswer)), newServer(t, hello)
	mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()))
	broken := 0
	for range 40 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			broken++
		}
		resp.Body.Close()
	}
	if got := settled(t, mesh)[bad.addr]; got == "closed" {
		t.Error("the breaker of the endpoint whose bodies break off is closed, want it open")
	}
	if broken < 5 || broken > 10 {
		t.Errorf("%d of 40 bodies broke off, want the few that it takes to open the breaker", broken)
	}
}

// A caller that closes the body early, or cancels while reading, blames nobody.
func TestCallerLeavesTheBody(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mesh := newMesh(t, []*server{s}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			cancel()
			_, _ = io.ReadAll(resp.Body)
		}
		resp.Body.Close()
		cancel()
	}
	if got := settled(t, mesh)[s.addr]; got != "closed" {
		t.Errorf("the breaker is %s, want closed", got)
	}
}

// 60 callers cancel, each in its own way: nothing hangs or leaks, nobody is blamed.
func TestCallersCancel(t *testing.T) {
	s := newServer(t, hangs(t))
	mesh := newMesh(t, []*server{s}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	reason := errors.New("changed my mind")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			req := request(t, http.MethodGet, "http://users/", nil)
			want := context.Canceled
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			timer := time.AfterFunc(20*time.Millisecond, func() { cancel(nil) })
			switch i % 4 {
			case 1:
				timer.Stop()
				timer = time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
				want = reason
			case 2:
				timer.Stop()
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 20*time.Millisecond)
				defer stop()
				want = context.DeadlineExceeded
			case 3:
				timer.Stop()
				gone := make(chan struct{})
				//lint:ignore SA1019 it is deprecated, and still in use
				req.Cancel = gone //nolint:staticcheck // it is deprecated, and still in use
				timer = time.AfterFunc(20*time.Millisecond, func() { close(gone) })
				want = nil
			}
			defer timer.Stop()
			_, err := mesh.RoundTrip(req.WithContext(ctx))
			if err == nil {
				t.Error("a call to a hanging endpoint succeeded")
			}
			if want != nil && err != want {
				t.Errorf("error %#v, want %#v itself", err, want)
			}
		})
	}
	wg.Wait()
	client := &http.Client{Transport: mesh, Timeout: 30 * time.Millisecond}
	for range 10 {
		_, err := client.Get("http://users/")
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("error %v, want a timeout", err)
		}
	}
	if got := settled(t, mesh)[s.addr]; got != "closed" {
		t.Errorf("the breaker is %s after callers went away, want closed", got)
	}
}

func TestTimeoutOfTheCall(t *testing.T) {
	s := newServer(t, hangs(t))
	mesh := newMesh(t, []*server{s}, fairlead.WithTimeout(50*time.Millisecond))
	_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	var call *fairlead.CallError
	if !errors.As(err, &call) || !errors.Is(err, fairlead.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !call.Timeout() {
		t.Errorf("error %v, want a CallError with ErrTimeout", err)
	}
	settled(t, mesh)
}

// Where the caller's own deadline is sooner than WithTimeout's, it is the one that counts.
func TestSoonerDeadlineOfTheCaller(t *testing.T) {
	s := newServer(t, hangs(t))
	mesh := newMesh(t, []*server{s}, fairlead.WithTimeout(time.Minute), fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx))
	if err != context.DeadlineExceeded {
		t.Errorf("error %#v, want the context's itself", err)
	}
	if got := settled(t, mesh)[s.addr]; got != "closed" {
		t.Errorf("the breaker is %s, want closed", got)
	}
}

// WithTimeout is over the body too.
func TestTimeoutOfTheBody(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mesh := newMesh(t, []*server{s}, fairlead.WithTimeout(50*time.Millisecond))
	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading the body: %v, want a deadline", err)
	}
	resp.Body.Close()
	settled(t, mesh)
}

// The requests' own faults are nobody's failure and are not sent again.
func TestFaultsOfTheRequest(t *testing.T) {
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	mesh := newMesh(t, []*server{s}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	torn := errors.New("torn")
	reads := atomic.Int64{}
	tests := map[string]func(*http.Request){
		"header name":  func(r *http.Request) { r.Header["bad name"] = []string{"x"} },
		"header value": func(r *http.Request) { r.Header.Set("X", "a\nb") },
		"method":       func(r *http.Request) { r.Method = "bad method" },
		"body": func(r *http.Request) {
			r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { reads.Add(1); return 0, torn }))
			r.ContentLength = -1
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			req := request(t, http.MethodPut, "http://users/", nil)
			spoil(req)
			resp, err := mesh.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
				t.Fatal("a request that cannot be sent was answered")
			}
			if name == "body" && !errors.Is(err, torn) {
				t.Errorf("error %v, want the body's own", err)
			}
			if got := settled(t, mesh)[s.addr]; got != "closed" {
				t.Errorf("the breaker is %s, want closed", got)
			}
		})
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("the failing body was read %d times, want once", n)
	}
}

// The caller's deadline holds while the resolver has nothing to say, with a
// fallback transport and without.
func TestDeadlineWhileResolving(t *testing.T) {
	silent := watchFunc(func(ctx context.Context, _ string, _ func(discovery.Snapshot, error) bool) { <-ctx.Done() })
	for name, opts := range map[string][]fairlead.Option{
		"alone":         nil,
		"with fallback": {fairlead.WithFallbackTransport(http.DefaultTransport)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took := func(ctx context.Context, opts ...fairlead.Option) (time.Duration, error) {
					mesh := newMeshOver(t, silent, opts...)
					began := time.Now()
					req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
					_, err := mesh.RoundTrip(req)
					return time.Since(began), err
				}
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				defer cancel()
				if d, err := took(ctx, opts...); err != context.DeadlineExceeded || d != 50*time.Millisecond {
					t.Errorf("after %v: %v, want context.DeadlineExceeded itself after 50ms", d, err)
				}
				if d, err := took(context.Background(), append(opts, fairlead.WithTimeout(time.Second))...); !errors.Is(err, fairlead.ErrTimeout) || d != time.Second {
					t.Errorf("after %v: %v, want ErrTimeout after 1s", d, err)
				}
				if d, err := took(context.Background(), opts...); !errors.Is(err, fairlead.ErrUnresolved) || d != 5*time.Second {
					t.Errorf("after %v: %v, want ErrUnresolved after 5s", d, err)
				}
			})
		})
	}
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
