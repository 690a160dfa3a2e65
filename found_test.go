package fairlead_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/retry"
)

// A loser does not look at the request of a call that is over.
func TestHedgeHeaderRace(t *testing.T) {
	f := newFleet(4)
	done := make(chan struct{})
	mesh := f.mesh(t, fairlead.WithHedge(retry.Hedge{After: 5 * ms}))
	f.slowFirst(after(30*ms, 200), func(req *http.Request) (*http.Response, error) {
		defer close(done)
		for end := time.Now().Add(100 * ms); time.Now().Before(end); {
			for range req.Header {
			}
		}
		return nil, req.Context().Err()
	})
	req := request(t, http.MethodGet, "http://users/", nil)
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	req.Header.Set("X-Next", "1") // allowed: the body was closed
	<-done
}

// A hedge goes elsewhere or not at all.
func TestHedgeSameEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20, fairlead.WithLimit(breaker.Limit{Endpoint: 2}))
		f.endpoints[1].does(after(time.Hour, 200))
		for range 2 {
			go func() {
				req := request(t, http.MethodGet, "http://users/", nil)
				mesh.RoundTrip(req.WithContext(fairlead.WithOverride(req.Context(), fairlead.Override{Endpoint: "b:80"})))
			}()
		}
		synctest.Wait()
		f.endpoints[0].does(after(time.Second, 200))
		before := f.endpoints[0].served.Load()
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := f.endpoints[0].served.Load() - before; n != 1 {
			t.Errorf("the slow endpoint got %d attempts of one call, its hedge too", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// Request.Cancel ends the wait for room.
func TestCancelAwaitRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1)
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
		release := f.held(t, mesh, 1)
		cancel := make(chan struct{})
		req := request(t, http.MethodGet, "http://users/", nil)
		req.Cancel = cancel
		var ended atomic.Bool
		go func() { _, err := mesh.RoundTrip(req); t.Log(err); ended.Store(true) }()
		synctest.Wait()
		close(cancel)
		time.Sleep(time.Minute)
		if !ended.Load() {
			t.Error("a minute after Request.Cancel the call still waits for room")
		}
		release()
		time.Sleep(time.Second)
	})
}

// One that waits for a place of its own does not keep others from theirs.
func TestPinnedWaiterStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, fairlead.WithLimit(breaker.Limit{Endpoint: 1}))
		pin := func(e string) *http.Request {
			req := request(t, http.MethodGet, "http://users/", nil)
			return req.WithContext(fairlead.WithOverride(req.Context(), fairlead.Override{Endpoint: e}))
		}
		a, err := mesh.RoundTrip(pin("a:80"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := mesh.RoundTrip(pin("b:80"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { // pinned to a, which stays full
			if resp, err := mesh.RoundTrip(pin("a:80")); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		var got atomic.Bool
		go func() {
			if resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); err == nil {
				got.Store(true)
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		b.Body.Close() // b is free now
		time.Sleep(time.Hour)
		if !got.Load() {
			t.Error("endpoint b was free for an hour, and the call that could use it still waits")
		}
		a.Body.Close()
		time.Sleep(time.Minute)
	})
}

// A foreign host has no fallback of a service.
func TestFallbackForeign(t *testing.T) {
	f := newFleet(1)
	var called atomic.Int64
	for _, foreign := range []http.RoundTripper{
		roundTrip(func(req *http.Request) (*http.Response, error) { return respond(req, 503), nil }),
		roundTrip(func(req *http.Request) (*http.Response, error) { return nil, errDead }),
	} {
		mesh := f.mesh(t, fairlead.WithFallbackTransport(foreign), fairlead.WithFallback(func(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
			called.Add(1)
			return respond(req, 200), nil
		}))
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://example.org/", nil))
		t.Log(resp != nil && resp.StatusCode == 200, err)
	}
	if n := called.Load(); n != 0 {
		t.Errorf("fallback called %d times for a host that is no service", n)
	}
}

// Close does not wait for a hedge.
func TestCloseWaitsForHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t, after20)
		f.slowFirst(after(time.Hour, 200), after(time.Hour, 200))
		go mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		time.Sleep(time.Second)
		t.Log("attempts", f.attempts())
		began := time.Now()
		mesh.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}
