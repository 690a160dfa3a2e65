package main

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	callers  = 16
	meanRest = 10 * time.Millisecond // of a caller between two calls
)

// ids are the servers of the play, and the columns of its table.
var ids = []string{"users-1", "users-2", "orders-1", "orders-2", "orders-3"}

func serviceOf(id string) string {
	service, _, _ := strings.Cut(id, "-")
	return service
}

// load is callers that call both services without end.
type load struct {
	client  *http.Client
	stop    chan struct{}
	ending  sync.Once
	callers sync.WaitGroup

	mu       sync.Mutex
	calls    int            // guarded by mu
	answered map[string]int // by server, those in between included; guarded by mu
	failed   []error        // guarded by mu
}

func startLoad(ctx context.Context, client *http.Client) *load {
	l := &load{client: client, stop: make(chan struct{}), answered: make(map[string]int)}
	for i := range callers {
		url := []string{"http://users/profile", "http://orders/receipt"}[i%2]
		l.callers.Go(func() { l.keepCalling(ctx, url) })
	}
	return l
}

// keepCalling calls until the end, with random pauses so that callers do not
// march in step.
func (l *load) keepCalling(ctx context.Context, url string) {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(2 * meanRest)):
			l.count(get(ctx, l.client, url))
		}
	}
}

// count takes in an answer, such as "7 from orders-2 by way of users-1".
func (l *load) count(answer string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	for _, word := range strings.Fields(answer) {
		if strings.Contains(word, "-") {
			l.answered[word]++
		}
	}
}

// answers returns how often each server has answered so far.
func (l *load) answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answered)
}

// end lets the callers finish their calls.
func (l *load) end() (calls int, failed []error) {
	l.ending.Do(func() { close(l.stop) })
	l.callers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls, l.failed
}
