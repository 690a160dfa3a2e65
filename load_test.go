package fairlead_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/fairlead-go/fairlead"
)

// load is callers that call "users" without pause, whose endpoints answer with
// their addresses.
type load struct {
	t       testing.TB
	client  *http.Client
	stop    chan struct{}
	callers sync.WaitGroup

	mu       sync.Mutex
	calls    int            // guarded by mu
	answered map[string]int // by address; guarded by mu
	failed   []error        // guarded by mu
}

// startLoad starts callers, of which each uses one of the methods. One call in
// fifty takes long.
func startLoad(t testing.TB, mesh *fairlead.Mesh, callers int, methods ...string) *load {
	l := &load{t: t, client: mesh.Client(), stop: make(chan struct{}), answered: make(map[string]int)}
	for i := range callers {
		l.callers.Go(func() { l.keepCalling(methods[i%len(methods)]) })
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *load) keepCalling(method string) {
	for n := 1; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		url := "http://users/"
		if n%50 == 0 {
			url += "?slow"
		}
		by, err := l.call(method, url)
		l.count(by, err)
	}
}

// call returns the address of the endpoint that answered.
func (l *load) call(method, url string) (string, error) {
	req, err := http.NewRequest(method, url, http.NoBody)
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

func (l *load) answers(addr string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered[addr]
}

// awaitAnswers waits until the endpoint has answered some more calls.
func (l *load) awaitAnswers(addr string) {
	l.t.Helper()
	before := l.answers(addr)
	eventually(l.t, "the endpoint at "+addr+" is called", func() bool { return l.answers(addr) > before+20 })
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
