package fairlead_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// echo answers with what was sent, and now and then not at all, late, or badly.
func echo(w http.ResponseWriter, r *http.Request) {
	switch rand.IntN(20) {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		for range rand.IntN(30) { // it is drained meanwhile
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, "busy")
		}
		return
	case 1:
		panic(http.ErrAbortHandler)
	case 3:
		w.WriteHeader(http.StatusNoContent)
		return
	case 4:
		w.WriteHeader(http.StatusNotModified)
		return
	case 5: // before it has read all
		fmt.Fprint(w, r.URL.Query().Get("call"))
		_ = http.NewResponseController(w).Flush()
		_, _ = io.CopyN(io.Discard, r.Body, 10<<10)
		return
	case 2:
		select {
		case <-r.Context().Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	fmt.Fprint(w, r.URL.Query().Get("call"), strings.Repeat(".", rand.IntN(5000)), string(body))
}

// What ends a call may be used by another at once. Callers who read and close bodies
// that have ended, from other goroutines too, must see their own answers only, and
// nothing may be counted twice, whatever became of the call.
func TestEndedCallsAreNotSeenAgain(t *testing.T) {
	passes := func(next http.RoundTripper) http.RoundTripper { return next }
	for _, tt := range []struct {
		name string
		opts []fairlead.Option
	}{
		{"defaults", nil},
		{"time limits", []fairlead.Option{fairlead.WithTimeout(15 * time.Millisecond), fairlead.WithRetry(retry.Config{AttemptTimeout: 5 * time.Millisecond})}},
		{"hedges", []fairlead.Option{fairlead.WithHedge(retry.Hedge{After: time.Millisecond}), fairlead.WithRetry(retry.Config{Budget: retry.Budget{Ratio: -1}})}},
		{"limits", []fairlead.Option{fairlead.WithLimit(breaker.Limit{Service: 6, Endpoint: 2, Queue: 20})}},
		{"middleware", []fairlead.Option{fairlead.WithMiddleware(passes), fairlead.WithAttemptMiddleware(passes)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mesh := newMesh(t, []*server{newServer(t, echo), newServer(t, echo), newServer(t, echo)}, tt.opts...)
			client := mesh.Client()
			var callers, latecomers sync.WaitGroup
			var owned atomic.Int64
			for caller := range 8 {
				callers.Go(func() {
					var ended []io.ReadCloser
					for i := range 150 {
						name := fmt.Sprintf("<%d/%d>", caller, i)
						resp, err := client.Do(anyRequest(t, name))
						if err != nil {
							continue
						}
						if resp.StatusCode == http.StatusOK && checkOwn(t, resp, name) {
							owned.Add(1)
						}
						resp.Body.Close()
						ended = append(ended, resp.Body)
						late := ended[rand.IntN(len(ended))]
						latecomers.Go(func() { comesLate(t, late) })
					}
				})
			}
			callers.Wait()
			latecomers.Wait()
			if owned.Load() == 0 {
				t.Error("no answer was read to its end")
			}
			// What lost to a hedge may still be drained.
			eventually(t, "nothing is in flight", func() bool { return inFlight(mesh) == 0 })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := mesh.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v: a call was not ended, or twice", err)
			}
		})
	}
}

func inFlight(mesh *fairlead.Mesh) (n int) {
	for _, s := range mesh.Status().Services {
		for _, e := range s.Endpoints {
			n += e.InFlight
		}
	}
	return n
}

// anyRequest is a request that can be repeated, or whose body can be had again, or
// neither.
func anyRequest(t *testing.T, name string) *http.Request {
	var body io.Reader
	method := http.MethodGet
	switch rand.IntN(12) {
	case 0, 1, 2:
		method, body = http.MethodPost, strings.NewReader(name)
	case 3, 4, 5:
		method, body = http.MethodPut, io.MultiReader(strings.NewReader(name))
	case 6:
		method = http.MethodHead
	case 7:
		method, body = http.MethodPost, strings.NewReader(strings.Repeat(name, 100<<10/len(name)))
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://users/?call="+name, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// checkOwn reads an answer, now and then, and reports whether it came to its end.
func checkOwn(t *testing.T, resp *http.Response, name string) bool {
	if rand.IntN(4) == 0 || resp.Request.Method == http.MethodHead {
		return false
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	rest, own := strings.CutPrefix(string(got), name)
	if rest = strings.TrimLeft(rest, "."); !own || strings.ReplaceAll(rest, name, "") != "" {
		t.Errorf("the answer to %q is %.40q … %q", name, got, rest)
	}
	return true
}

// comesLate reads and closes a body that has ended.
func comesLate(t *testing.T, body io.ReadCloser) {
	if n, err := body.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("a body that was closed gave %d bytes and %v", n, err)
	}
	body.Close()
}

// A caller may close a body on one goroutine while it reads it on another.
func TestABodyIsClosedWhileItIsRead(t *testing.T) {
	mesh := newMesh(t, []*server{newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})})
	for range 50 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("the read of an endless body that was closed ended well")
			}
		})
		both.Go(func() { resp.Body.Close() })
		both.Wait()
	}
	if n := inFlight(mesh); n != 0 {
		t.Errorf("%d in flight after the end", n)
	}
}

// The last use of a service is the end of its last body, however long ago that was
// answered.
func TestALongBodyIsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(2)
		mesh := f.mesh(t)
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		resp.Body.Close()
		time.Sleep(9 * time.Minute)
		if n := len(mesh.Status().Services); n != 1 {
			t.Errorf("%d services 9 min after the end of a body that took an hour, want 1", n)
		}
		time.Sleep(4 * time.Minute)
		if n := len(mesh.Status().Services); n != 0 {
			t.Errorf("%d services after 13 idle minutes, want 0", n)
		}
	})
}

// A call earns retries when its first attempt is over, whichever way, and only once.
func TestACallIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		for _, e := range f.endpoints {
			e.does(dead)
		}
		// Without reserve: each five calls pay for one retry.
		mesh := f.mesh(t, fairlead.WithoutBreaker(), fairlead.WithRetry(retry.Config{
			Attempts: 2, Budget: retry.Budget{Ratio: 0.2, Burst: -1, PerSecond: -1},
		}))
		const calls = 100
		refused := 0
		for range calls {
			if resp, err := mesh.Client().Get("http://users/"); err == nil {
				resp.Body.Close()
				t.Fatal("a dead fleet answered")
			} else if errors.Is(err, retry.ErrBudget) {
				refused++
			}
		}
		if got := f.attempts() - calls; got != calls/5 || refused != calls-calls/5 {
			t.Errorf("%d retries, and %d calls without for the budget's sake, of %d calls, want %d and %d", got, refused, calls, calls/5, calls-calls/5)
		}
	})
}

// Whose body has just ended is not the service that was not used for longest.
func TestALongBodyKeepsItsService(t *testing.T) {
	for _, unit := range []time.Duration{time.Minute, time.Second, ms} {
		t.Run(unit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(1)
				services := discovery.Services{}
				for _, name := range []string{"long", "idle", "new"} {
					services[name] = discovery.Addrs("a:80")
				}
				mesh := newMeshOver(t, services, fairlead.WithMaxServices(2), fairlead.WithEndpointTransport(
					func(string, discovery.Endpoint) (http.RoundTripper, error) { return f.endpoints[0], nil }))
				get := func(service string) *http.Response {
					resp, err := mesh.Client().Get("http://" + service + "/")
					if err != nil {
						t.Fatal(err)
					}
					return resp
				}
				long := get("long")
				time.Sleep(unit)
				get("idle").Body.Close()
				time.Sleep(5 * unit)
				long.Body.Close()
				get("new").Body.Close()
				var names []string
				for _, s := range mesh.Status().Services {
					names = append(names, s.Name)
				}
				if !slices.Equal(names, []string{"long", "new"}) {
					t.Errorf("%v are watched, want the one that was just used, and the new one", names)
				}
			})
		})
	}
}

// held is a response's body whose Read waits for its Close, which waits until what the
// caller makes of that is over: as HTTP/2's may.
type held struct {
	reading chan struct{} // closed by the Read
	closing chan struct{} // closed by the Close
	over    chan struct{} // to be closed when the caller's Read has returned
}

func (b *held) Read([]byte) (int, error) {
	close(b.reading)
	<-b.closing
	return 0, errors.New("http2: response body closed")
}

func (b *held) Close() error {
	close(b.closing)
	<-b.over
	return nil
}

// readAndClose closes a body that is being read, after do, and returns what the Read said.
func readAndClose(b *held, outer io.ReadCloser, do func()) (err error) {
	go func() {
		_, err = outer.Read(make([]byte, 1))
		close(b.over)
	}()
	<-b.reading
	do()
	outer.Close()
	return err
}

func TestABodyThatItsCallerCutIsNobodysFailure(t *testing.T) {
	f := newFleet(1)
	var body *held
	f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
		body = &held{make(chan struct{}), make(chan struct{}), make(chan struct{})}
		resp := respond(req, http.StatusOK)
		resp.Body = body
		return resp, nil
	})
	mesh := f.mesh(t)
	for range 40 {
		resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := readAndClose(body, resp.Body, func() {}); err == nil || errors.Is(err, fairlead.ErrClosed) {
			t.Fatalf("Read: %v, want the body's own error", err)
		}
	}
	settled(t, mesh)
	resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := readAndClose(body, resp.Body, func() { mesh.Close() }); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("Read after the end of the Mesh: %v, want ErrClosed", err)
	}
}

func TestABodyClosedAfterTheMesh(t *testing.T) {
	f := newFleet(1)
	f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, http.StatusOK)
		resp.Body, _ = io.Pipe()
		return resp, nil
	})
	mesh := f.mesh(t)
	resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	if err != nil {
		t.Fatal(err)
	}
	mesh.Close()
	resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("Read: %v, want ErrClosed", err)
	}
}

// stuck is a body whose Close panics.
type stuck struct{ io.Reader }

func (stuck) Close() error { panic("boom") }

func TestABodyWhoseClosePanics(t *testing.T) {
	f := newFleet(1)
	f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, http.StatusOK)
		resp.Body = stuck{strings.NewReader("body")}
		return resp, nil
	})
	mesh := f.mesh(t)
	resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		resp.Body.Close()
	}()
	if n := inFlight(mesh); n != 0 {
		t.Errorf("%d in flight, want 0", n)
	}
}
