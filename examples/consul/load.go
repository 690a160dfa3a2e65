package main

import (
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// load is callers that call without end.
type load struct {
	client  *http.Client
	pause   time.Duration
	stop    chan struct{}
	callers sync.WaitGroup

	mu       sync.Mutex
	calls    int            // guarded by mu
	answered map[string]int // by server; guarded by mu
	failed   []error        // guarded by mu
}

func startLoad(client *http.Client, cfg config) *load {
	l := &load{client: client, pause: cfg.pause, stop: make(chan struct{}), answered: make(map[string]int)}
	for range cfg.callers {
		l.callers.Go(l.keepCalling)
	}
	return l
}

// keepCalling calls until the end, with random pauses so that callers do not
// march in step.
func (l *load) keepCalling() {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(2 * l.pause)):
			l.count(l.get("http://" + name + "/hello"))
		}
	}
}

func (l *load) get(url string) (server string, err error) {
	resp, err := l.client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return string(content), err
}

func (l *load) count(server string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.answered[server]++
}

// answers returns how many calls each server has answered so far.
func (l *load) answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answered)
}

// end lets the callers finish their calls.
func (l *load) end() (calls int, failed []error) {
	close(l.stop)
	l.callers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls, l.failed
}
