package fairlead_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// A panic in code of the user's goes on, and leaves nothing behind: no call in flight, no
// body open, not even where it hits a probe.
func TestPanicsLeaveNothingBehind(t *testing.T) {
	var armed atomic.Bool
	boom := func() {
		if armed.Load() {
			panic("boom")
		}
	}
	layer := func(next http.RoundTripper) http.RoundTripper {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) { boom(); return next.RoundTrip(req) })
	}
	for name, opt := range map[string]fairlead.Option{
		"middleware":         fairlead.WithMiddleware(layer),
		"attempt middleware": fairlead.WithAttemptMiddleware(layer),
		"classifier": fairlead.WithClassifier(func(ctx context.Context, resp *http.Response, err error) balancer.Outcome {
			boom()
			return fairlead.Classify(ctx, resp, err)
		}),
		"sampler":    fairlead.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler(boom)))),
		"propagator": fairlead.WithPropagator(injector(boom)),
		"predicate":  fairlead.WithRetry(retry.Config{Safe: func(context.Context, string, string) bool { boom(); return false }}),
		"policy":     fairlead.WithBalancer(shaky{balancer.P2C(), boom}),
		"context":    nil,
		"body":       nil,
	} {
		for _, limit := range []time.Duration{0, time.Minute} {
			for _, again := range []bool{false, true} {
				if name == "body" && again {
					continue // nobody but the transport reads it
				}
				t.Run(fmt.Sprintf("%s/timeout=%v,GetBody=%v", name, limit, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, opts := newFleet(1), []fairlead.Option{fairlead.WithTimeout(limit)}
						if opt != nil {
							opts = append(opts, opt)
						}
						mesh := f.mesh(t, opts...)
						call := func() (err error) {
							bodies := []*body{newBody("content")}
							defer func() {
								if p := recover(); p != nil {
									err = fmt.Errorf("panic: %v", p)
								}
								for i, b := range bodies {
									if b.closed.Load() == 0 {
										t.Errorf("body %d of %d is open", i, len(bodies))
									}
								}
							}()
							req := request(t, http.MethodPost, "http://users/", bodies[0])
							switch name {
							case "body":
								bodies[0].Reader = io.MultiReader(shakyReader(boom), bodies[0].Reader)
							case "context":
								req = req.WithContext(shakyContext{t.Context(), boom})
							}
							if again {
								req.GetBody = func() (io.ReadCloser, error) {
									bodies = append(bodies, newBody("content"))
									return bodies[len(bodies)-1], nil
								}
							}
							resp, err := mesh.RoundTrip(req)
							if err == nil {
								readAll(t, resp)
							}
							return err
						}
						f.endpoints[0].does(func(req *http.Request) (*http.Response, error) {
							req.Body.Close()
							return dead(req)
						})
						for range 30 {
							_ = call()
						}
						f.endpoints[0].does(ok)
						time.Sleep(2 * time.Second) // half-open
						armed.Store(true)
						if err := call(); name != "policy" && (err == nil || !strings.Contains(err.Error(), "boom")) { // which no probe asks
							t.Fatalf("the panic became %v", err)
						}
						armed.Store(false)
						for range 3 {
							if err := call(); err != nil {
								t.Errorf("a call after the panic: %v", err)
							}
						}
						armed.Store(true)
						if err := call(); err == nil || !strings.Contains(err.Error(), "boom") {
							t.Fatalf("the panic became %v", err)
						}
						armed.Store(false)
						if s := mesh.Status().Services[0]; s.InFlight != 0 || s.Endpoints[0].InFlight != 0 {
							t.Errorf("in flight after a panic: %+v", s)
						}
						if err := mesh.Shutdown(t.Context()); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}

// The transport panics with a body that the caller gave for another attempt.
func TestPanicInASecondAttempt(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("GetBody=%v", again), func(t *testing.T) {
			f := newFleet(2)
			for _, e := range f.endpoints {
				e.does(func(req *http.Request) (*http.Response, error) {
					if f.attempts() == 2 {
						panic("boom")
					}
					return respond(req, http.StatusServiceUnavailable), nil
				})
			}
			mesh, bodies := f.mesh(t), []*body{newBody("content")}
			req := request(t, http.MethodPut, "http://users/", bodies[0])
			if again {
				req.GetBody = func() (io.ReadCloser, error) {
					bodies = append(bodies, newBody("content"))
					return bodies[len(bodies)-1], nil
				}
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				resp, err := mesh.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
				}
			}()
			for i, b := range bodies {
				if b.closed.Load() == 0 {
					t.Errorf("body %d of %d is open", i, len(bodies))
				}
			}
			settled(t, mesh)
		})
	}
}

// injector is a propagator that does something.
type injector func()

func (p injector) Inject(context.Context, propagation.TextMapCarrier) { p() }
func (p injector) Fields() []string                                   { return nil }

func (p injector) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context {
	return ctx
}

// shaky is a policy that does something at each pick.
type shaky struct {
	balancer.Policy
	first func()
}

func (p shaky) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return shakyPicker{p.Policy.NewPicker(nodes, nil), p.first}
}

type shakyPicker struct {
	balancer.Picker
	first func()
}

func (p shakyPicker) Pick(info *balancer.Info) balancer.Choice { p.first(); return p.Picker.Pick(info) }

// shakyContext does something when it is asked for a value.
type shakyContext struct {
	context.Context
	first func()
}

func (c shakyContext) Value(key any) any { c.first(); return c.Context.Value(key) }

// shakyReader does something, and has nothing to read.
type shakyReader func()

func (r shakyReader) Read([]byte) (int, error) { r(); return 0, io.EOF }

// sampler is one that does something first.
type sampler func()

func (s sampler) Description() string { return "" }

func (s sampler) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s()
	return sdktrace.SamplingResult{}
}

// A middleware may send on under a context of its own, also after its call ended.
func TestMiddlewareWithAContextOfItsOwn(t *testing.T) {
	f := newFleet(2)
	mesh := f.mesh(t, fairlead.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return next.RoundTrip(req.WithContext(context.Background()))
		})
	}))
	for range 10 {
		if !succeeds(mesh) {
			t.Fatal("a call failed")
		}
	}
	if n := mesh.Status().Services[0].InFlight; n != 0 {
		t.Errorf("%d calls in flight, want 0", n)
	}
}

// A service that is slow by nature must pass its probes too, when nobody else is
// left, and when the others are slow as well.
func TestSlowServiceRecovers(t *testing.T) {
	for _, n := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(n)
			mesh := f.mesh(t)
			for _, e := range f.endpoints {
				e.does(dead)
			}
			for range 100 {
				succeeds(mesh)
			}
			for _, e := range f.endpoints {
				e.does(after(1300*time.Millisecond, http.StatusOK))
			}
			began := time.Now()
			for ready := 0; ready < n; {
				if time.Since(began) > 2*time.Minute {
					t.Fatalf("%d of %d endpoints are back after 2 min", ready, n)
				}
				succeeds(mesh)
				time.Sleep(100 * time.Millisecond)
				ready = 0
				for _, e := range f.endpoints {
					if breakerOf(mesh, e.addr) == "closed" {
						ready++
					}
				}
			}
		})
	}
}

// One https call by mistake must not make the checks of plain endpoints fail.
func TestHTTPSByMistake(t *testing.T) {
	s := newServer(t, hello)
	mesh := newMesh(t, []*server{s}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1, OpenFor: 50 * time.Millisecond}))
	for range 5 {
		if resp, err := mesh.Client().Get("https://users/"); err == nil {
			readAll(t, resp)
			t.Fatal("TLS to a plain server succeeded")
		}
	}
	eventually(t, "plain calls succeed again", func() bool {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			return false
		}
		readAll(t, resp)
		return true
	})
}

// Faults of the request's own that only show when it is sent are nobody's failure.
func TestRequestsThatCannotBeSent(t *testing.T) {
	torn := errors.New("torn")
	for name, spoil := range map[string]func(*http.Request){
		"longer than declared":  func(r *http.Request) { r.ContentLength = 2 },
		"shorter than declared": func(r *http.Request) { r.ContentLength = 200 },
		"declared and missing":  func(r *http.Request) { r.Body, r.GetBody, r.ContentLength = nil, nil, 5 },
		"torn, with GetBody": func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) {
				return io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, torn })), nil
			}
			r.Body, _ = r.GetBody()
		},
		"control character": func(r *http.Request) { r.URL.RawQuery = "a\nb" },
		"trailer":           func(r *http.Request) { r.Trailer = http.Header{"Content-Length": nil} },
	} {
		for kind, content := range map[string]func() io.Reader{
			"GetBody": func() io.Reader { return strings.NewReader("content") },
			"once":    func() io.Reader { return newBody("content") },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				s := newServer(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
				mesh := newMesh(t, []*server{s}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
				for range 4 {
					req := request(t, http.MethodPut, "http://users/", content())
					if kind == "once" {
						req.ContentLength = int64(len("content"))
					}
					spoil(req)
					if resp, err := mesh.RoundTrip(req); err == nil {
						readAll(t, resp)
					}
				}
				if got := settled(t, mesh)[s.addr]; got != "closed" {
					t.Errorf("the breaker is %s, want closed", got)
				}
			})
		}
	}
}

// A body must be replayed whole, also to an endpoint that answers before it has
// read all of it.
func TestReplayIsWholeAfterEarlyHeaders(t *testing.T) {
	got := make(chan int, 1)
	f := newFleet(2)
	f.endpoints[0].does(func(req *http.Request) (*http.Response, error) { return respond(req, 503), nil })
	f.endpoints[1].does(func(req *http.Request) (*http.Response, error) {
		_, _ = io.ReadFull(req.Body, make([]byte, 10))
		headers := make(chan struct{})
		go func() {
			<-headers
			n, _ := io.Copy(io.Discard, req.Body)
			req.Body.Close()
			got <- 10 + int(n)
		}()
		pr, pw := io.Pipe()
		go func() { close(headers); pw.Close() }()
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: pr, ProtoMajor: 2}, nil
	})
	mesh := f.mesh(t, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker())
	const size = 50_000
	for f.endpoints[0].served.Load() == 0 {
		resp, err := mesh.RoundTrip(request(t, http.MethodPut, "http://users/", newBody(strings.Repeat("x", size))))
		if err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != size {
			t.Errorf("the endpoint got %d of %d bytes", n, size)
		}
		readAll(t, resp)
	}
}

// The time limit of a call that another call is made in is the caller's, not ours.
func TestNestedTimeouts(t *testing.T) {
	inner := newServer(t, hangs(t))
	within := newMesh(t, []*server{inner}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	outer := newServer(t, hello)
	mesh := newMesh(t, []*server{outer}, fairlead.WithTimeout(20*time.Millisecond),
		fairlead.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
				resp, err := within.RoundTrip(request(t, http.MethodGet, "http://users/token", nil).WithContext(req.Context()))
				if err != nil {
					return nil, err
				}
				readAll(t, resp)
				return next.RoundTrip(req)
			})
		}))
	for range 5 {
		if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil)); !errors.Is(err, fairlead.ErrTimeout) {
			t.Errorf("error %v, want ErrTimeout", err)
		}
	}
	if got := settled(t, within)[inner.addr]; got != "closed" {
		t.Errorf("the inner breaker is %s, want closed", got)
	}
}

// WithTimeout ends with the winner; the loser is drained all the same.
func TestLosersAreDrainedUnderATimeout(t *testing.T) {
	bad, good := newServer(t, status(503)), newServer(t, hello)
	mesh := newMesh(t, []*server{bad, good}, fairlead.WithBalancer(balancer.RoundRobin()), fairlead.WithoutBreaker(), fairlead.WithTimeout(time.Minute))
	for range 20 {
		resp, err := mesh.Client().Get("http://users/")
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		settled(t, mesh)
	}
	if n := bad.conns.Load(); n > 2 {
		t.Errorf("%d connections for %d losing responses, want one or two", n, bad.calls.Load())
	}
}

// All endpoints replaced by others at once: no call may notice.
func TestWholeFleetReplaced(t *testing.T) {
	f := newFleet(20)
	for _, e := range f.endpoints {
		e.does(after(0, 200))
	}
	registry := discovery.NewRegistry()
	half := func(i int) []discovery.Endpoint { return f.services()["users"][10*i : 10*i+10] }
	if err := registry.Set("users", half(0)...); err != nil {
		t.Fatal(err)
	}
	mesh := newMeshOver(t, registry, fairlead.WithEndpointTransport(func(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
		return f.endpoints[e.Addr[0]-'a'], nil
	}))
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		failed := 0
		for {
			select {
			case <-stop:
				done <- failed
				return
			default:
				if !succeeds(mesh) {
					failed++
				}
			}
		}
	}()
	for i := range 100 {
		if err := registry.Set("users", half(1-i%2)...); err != nil {
			t.Fatal(err)
		}
		served := f.attempts()
		eventually(t, "calls go on", func() bool { return f.attempts() > served+20 })
	}
	close(stop)
	if failed := <-done; failed > 0 {
		t.Errorf("%d calls failed over 100 replacements, want none", failed)
	}
}

// The cause of a failed attempt stays in the error when no other could follow.
func TestCauseSurvivesTheLastBreaker(t *testing.T) {
	gone := newServer(t, hello)
	gone.kill()
	mesh := newMesh(t, []*server{gone}, fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 1}))
	for {
		_, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
		var call *fairlead.CallError
		if !errors.As(err, &call) {
			t.Fatalf("error %v, want a CallError", err)
		}
		if call.Attempts == 0 {
			return // the breaker was open from the start
		}
		if call.Endpoint != gone.addr || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("error %v of endpoint %q, want the refused connection of %q", err, call.Endpoint, gone.addr)
		}
	}
}

// The service that was not used for longest makes room.
func TestLeastRecentlyUsedMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		services := discovery.Services{}
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			services[name] = discovery.Addrs("x:1")
		}
		f := newFleet(1)
		mesh := newMeshOver(t, services, fairlead.WithMaxServices(3), fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) { return f.endpoints[0], nil }))
		watched := ""
		for _, name := range []string{"f", "e", "d", "c", "b", "a"} {
			resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://"+name+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
			time.Sleep(time.Millisecond)
			watched = ""
			for _, s := range mesh.Status().Services {
				watched += s.Name
			}
		}
		if watched != "abc" {
			t.Errorf("watched %q, want the three used last", watched)
		}
	})
}
