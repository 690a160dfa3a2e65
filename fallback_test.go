package fairlead_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
)

func TestFallback(t *testing.T) {
	cached := func(req *http.Request, _ *http.Response, _ error) (*http.Response, error) {
		resp := respond(req, 200)
		resp.Body = io.NopCloser(strings.NewReader("cached"))
		return resp, nil
	}
	errMine := errors.New("mine")
	for _, tt := range []struct {
		name     string
		endpoint func(*http.Request) (*http.Response, error)
		fallback fairlead.Fallback
		body     string
		err      error
	}{
		{"not needed", ok, nil, "body", nil},
		{"no answer", dead, cached, "cached", nil},
		{"503", after(0, 503), cached, "cached", nil},
		{"429", after(0, 429), cached, "cached", nil},
		{"404 is an answer", after(0, 404), nil, "body", nil},
		{"leaves the answer", after(0, 503), func(_ *http.Request, resp *http.Response, err error) (*http.Response, error) { return resp, err }, "body", nil},
		{"leaves the error", dead, func(_ *http.Request, resp *http.Response, err error) (*http.Response, error) { return resp, err }, "", errDead},
		{"an error of its own", after(0, 503), func(*http.Request, *http.Response, error) (*http.Response, error) { return nil, errMine }, "", errMine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(2)
				var opened, closed atomic.Int64
				for _, e := range f.endpoints {
					e.does(func(req *http.Request) (*http.Response, error) {
						resp, err := tt.endpoint(req)
						if err == nil {
							opened.Add(1)
							resp.Body = closing{resp.Body, &closed}
						}
						return resp, err
					})
				}
				fallback := func(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
					if (resp == nil) == (err == nil) {
						t.Errorf("the fallback gets %v and %v", resp, err)
					}
					if tt.fallback == nil {
						t.Fatal("the fallback is called")
					}
					return tt.fallback(req, resp, err)
				}
				mesh := f.mesh(t, fairlead.WithFallback(fallback))
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if err == nil {
					if got := readAll(t, resp); got != tt.body {
						t.Errorf("the body is %q, want %q", got, tt.body)
					}
				}
				atRest(t, mesh)
				if opened.Load() != closed.Load() {
					t.Errorf("%d bodies opened, %d closed", opened.Load(), closed.Load())
				}
			})
		})
	}
	t.Run("not for those who left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(1)
			f.endpoints[0].does(after(time.Minute, 200))
			mesh := f.mesh(t, fairlead.WithFallback(func(*http.Request, *http.Response, error) (*http.Response, error) {
				t.Error("the fallback is called")
				return nil, errMine
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			if _, err := mesh.RoundTrip(request(t, http.MethodGet, "http://unknown/", nil)); !errors.Is(err, fairlead.ErrUnknownService) {
				t.Errorf("error %v", err)
			}
		})
	})
	t.Run("a panic leaks nothing", func(t *testing.T) {
		asked := 0
		for name, opts := range map[string][]fairlead.Option{
			"in the fallback": {fairlead.WithFallback(func(*http.Request, *http.Response, error) (*http.Response, error) { panic("oh") })},
			"in the classifier, asked for its sake": {
				fairlead.WithFallback(func(_ *http.Request, resp *http.Response, err error) (*http.Response, error) { return resp, err }),
				fairlead.WithClassifier(func(context.Context, *http.Response, error) balancer.Outcome {
					if asked++; asked == 2 {
						panic("oh")
					}
					return balancer.Outcome{Verdict: balancer.Failure}
				}),
			},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFleet(1)
					f.endpoints[0].does(after(0, 503))
					mesh := f.mesh(t, append(opts, fairlead.WithoutBreaker(), fairlead.WithoutRetry())...)
					func() {
						defer func() {
							if recover() == nil {
								t.Error("no panic")
							}
						}()
						_, _ = mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
					}()
					atRest(t, mesh)
				})
			})
		}
	})
}

// A foreign host has no fallback of a service.
func TestForeignHostsHaveNoFallback(t *testing.T) {
	f := newFleet(1)
	var called atomic.Int64
	for _, foreign := range []http.RoundTripper{
		roundTrip(func(req *http.Request) (*http.Response, error) { return respond(req, 503), nil }),
		roundTrip(func(*http.Request) (*http.Response, error) { return nil, errDead }),
	} {
		mesh := f.mesh(t, fairlead.WithFallbackTransport(foreign), fairlead.WithFallback(func(req *http.Request, _ *http.Response, _ error) (*http.Response, error) {
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
