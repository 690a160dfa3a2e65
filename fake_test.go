package fairlead_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// fleet is endpoints in memory, for virtual time. What an endpoint does can be
// changed while it is called.
type fleet struct {
	endpoints []*fake
}

// fake is one endpoint of a fleet.
type fake struct {
	addr   string
	served atomic.Int64
	answer atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

var errDead = errors.New("connection refused")

func newFleet(n int) *fleet {
	f := &fleet{}
	for i := range n {
		e := &fake{addr: string(rune('a'+i)) + ":80"}
		e.does(ok)
		f.endpoints = append(f.endpoints, e)
	}
	return f
}

func (e *fake) does(answer func(*http.Request) (*http.Response, error)) { e.answer.Store(&answer) }

func (e *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	e.served.Add(1)
	return (*e.answer.Load())(req)
}

func (f *fleet) services() discovery.Services {
	addrs := make([]string, 0, len(f.endpoints))
	for _, e := range f.endpoints {
		addrs = append(addrs, e.addr)
	}
	return discovery.Services{"users": discovery.Addrs(addrs...)}
}

func (f *fleet) attempts() (n int64) {
	for _, e := range f.endpoints {
		n += e.served.Load()
	}
	return n
}

// mesh returns a Mesh over the fleet.
func (f *fleet) mesh(t *testing.T, opts ...fairlead.Option) *fairlead.Mesh {
	t.Helper()
	opts = append([]fairlead.Option{
		fairlead.WithLogger(slog.New(slog.DiscardHandler)),
		fairlead.WithEndpointTransport(func(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
			i := slices.IndexFunc(f.endpoints, func(own *fake) bool { return own.addr == e.Addr })
			return f.endpoints[i], nil
		}),
	}, opts...)
	mesh, err := fairlead.New(f.services(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mesh.Close() })
	return mesh
}

func respond(req *http.Request, status int, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader("body")), Request: req,
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	return resp
}

// after answers with a status after a while, unless the caller goes away.
func after(d time.Duration, status int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return respond(req, status, header...), nil
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
}

// sometimes fails a share of the requests.
func sometimes(share float64, bad, good func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		if rand.Float64() < share {
			return bad(req)
		}
		return good(req)
	}
}

func dead(*http.Request) (*http.Response, error) { return nil, errDead }

var ok = after(10*time.Millisecond, http.StatusOK)

// tally is what callers saw.
type tally struct {
	calls, errors int64
	attempts      int64
}

func (t tally) errorShare() float64      { return float64(t.errors) / float64(max(t.calls, 1)) }
func (t tally) attemptsPerCall() float64 { return float64(t.attempts) / float64(max(t.calls, 1)) }

// load lets callers call the fleet without pause, a caller's think time apart,
// until the context ends.
func (f *fleet) load(ctx context.Context, mesh *fairlead.Mesh, callers int) tally {
	var calls, failed atomic.Int64
	before := f.attempts()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				if !succeeds(mesh) {
					failed.Add(1)
				}
				time.Sleep(time.Duration(5+rand.IntN(10)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return tally{calls: calls.Load(), errors: failed.Load(), attempts: f.attempts() - before}
}

// succeeds makes an idempotent call on behalf of a random user.
func succeeds(mesh http.RoundTripper) bool {
	ip := netip.AddrFrom4([4]byte{10, byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	ctx := balancer.WithClientIP(context.Background(), ip)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/v1/42", nil)
	if err != nil {
		return false
	}
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode < 500
}

// policies are all of them.
func policies() []balancer.Policy {
	return []balancer.Policy{
		balancer.RoundRobin(), balancer.WeightedRoundRobin(), balancer.LeastConn(),
		balancer.IPHash(), balancer.Random(), balancer.P2C(), balancer.PeakEWMA(),
	}
}
