package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// call is one call as its caller saw it.
type call struct {
	user   netip.Addr
	server string // the ID it was answered with
	at     time.Time
	took   time.Duration
	err    error
}

// load is callers that call without end.
type load struct {
	client  *http.Client
	pause   time.Duration
	users   []netip.Addr
	stop    chan struct{}
	callers sync.WaitGroup

	mu    sync.Mutex
	calls map[string][]call // by service; guarded by mu
}

func startLoad(client *http.Client, cfg config) *load {
	l := &load{client: client, pause: cfg.pause, users: addresses(cfg.users), stop: make(chan struct{}), calls: make(map[string][]call)}
	for _, s := range services {
		for range cfg.callers {
			l.callers.Go(func() { l.keepCalling(s.name()) })
		}
	}
	return l
}

// keepCalling calls until the end, with random pauses so that callers do not
// march in step.
func (l *load) keepCalling(service string) {
	var made []call
	for {
		select {
		case <-l.stop:
			l.mu.Lock()
			defer l.mu.Unlock()
			l.calls[service] = append(l.calls[service], made...)
			return
		case <-time.After(rand.N(2 * l.pause)):
			made = append(made, l.call(service))
		}
	}
}

// call calls a service by its name, on behalf of one of the users.
func (l *load) call(service string) call {
	c := call{user: l.users[rand.IntN(len(l.users))], at: time.Now()}
	ctx := balancer.WithClientIP(context.Background(), c.user) // for IPHash
	c.server, c.err = l.get(ctx, "http://"+service+"/hello")
	c.took = time.Since(c.at)
	return c
}

func (l *load) get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return string(content), err
}

// end lets the callers finish their calls and returns all of them by service,
// in the order of their beginning.
func (l *load) end() map[string][]call {
	close(l.stop)
	l.callers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, calls := range l.calls {
		slices.SortFunc(calls, func(a, b call) int { return a.at.Compare(b.at) })
	}
	return l.calls
}

// addresses returns n addresses of a block that is reserved for documentation.
func addresses(n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	addr := netip.MustParseAddr("198.51.100.1")
	for i := range addrs {
		addrs[i] = addr
		addr = addr.Next()
	}
	return addrs
}

// attempts counts what is really sent, by service. A call is one attempt, and
// one more for each retry.
type attempts map[string]*atomic.Int64

func newAttempts() attempts {
	a := make(attempts)
	for _, s := range services {
		a[s.name()] = new(atomic.Int64)
	}
	return a
}

// of returns a middleware that counts the attempts of a service.
func (a attempts) of(service string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			a[service].Add(1)
			return next.RoundTrip(req)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
