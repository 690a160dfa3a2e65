package fairlead_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// Services from a table, and a call by name.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s%s", r.Host, r.URL.Path)
	}))
	defer server.Close()

	mesh, err := fairlead.New(discovery.Services{
		"users": discovery.Addrs(strings.TrimPrefix(server.URL, "http://")),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()

	client := &http.Client{Transport: mesh}
	resp, err := client.Get("http://users/v1/42")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	content, _ := io.ReadAll(resp.Body)
	fmt.Println(string(content))
	// Output: users/v1/42
}

// Choices for all services, and others for one of them.
func ExampleForService() {
	mesh, err := fairlead.New(discovery.NewRegistry(),
		fairlead.WithTimeout(5*time.Second),
		fairlead.ForService("reports",
			fairlead.WithBalancer(balancer.LeastConn()),
			fairlead.WithTimeout(time.Minute),
			fairlead.WithRetry(retry.Config{AttemptTimeout: 10 * time.Second}),
			fairlead.WithBreaker(breaker.Config{ConsecutiveFailures: 3}),
		),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()
	// Output:
}

// A bad choice is an error that says what is allowed.
func ExampleNew_error() {
	_, err := fairlead.New(discovery.NewRegistry(), fairlead.WithRetry(retry.Config{Attempts: 9}))
	fmt.Println(err)
	// Output: fairlead: WithRetry: retry: Attempts is 9, want 1 (no retries) to 5, or 0 (meaning 2)
}

// A POST that only reads may be repeated, because its caller says so.
func ExampleWithOverride() {
	mesh, err := fairlead.New(discovery.Services{"search": discovery.Addrs("127.0.0.1:1")})
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()

	ctx := fairlead.WithOverride(context.Background(), fairlead.Override{
		Retry:          fairlead.RetryAllowed,
		AttemptTimeout: 200 * time.Millisecond,
	})
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://search/", strings.NewReader("query"))
	_, err = mesh.Client().Do(req)
	fmt.Println(err != nil)
	// Output: true
}

// Where the service fails, the last good answer does.
func ExampleWithFallback() {
	mesh, err := fairlead.New(discovery.Services{"prices": discovery.Addrs("127.0.0.1:1")}, // nobody is there
		fairlead.WithFallback(func(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
			if req.Method != http.MethodGet {
				return resp, err
			}
			return &http.Response{
				StatusCode: http.StatusOK,
				Header:     http.Header{"Warning": {`111 - "Revalidation Failed"`}},
				Body:       io.NopCloser(strings.NewReader("yesterday's prices")),
			}, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()

	resp, err := mesh.Client().Get("http://prices/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	content, _ := io.ReadAll(resp.Body)
	fmt.Println(string(content))
	// Output: yesterday's prices
}

// The endpoint that is slow has its calls answered by the other.
func ExampleWithHedge() {
	var served atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 1 {
			<-r.Context().Done() // slow, until somebody else has answered
			return
		}
		fmt.Fprint(w, "answered")
	})
	one, other := httptest.NewServer(handler), httptest.NewServer(handler)
	defer one.Close()
	defer other.Close()

	mesh, err := fairlead.New(
		discovery.Services{"users": discovery.Addrs(one.Listener.Addr().String(), other.Listener.Addr().String())},
		fairlead.WithHedge(retry.Hedge{After: 50 * time.Millisecond}))
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()

	resp, err := mesh.Client().Get("http://users/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	content, _ := io.ReadAll(resp.Body)
	fmt.Println(string(content))
	// Output: answered
}

// No more than 100 calls at a time, of which none waits, and 10 at each endpoint.
func ExampleWithLimit() {
	mesh, err := fairlead.New(discovery.Services{"users": nil},
		fairlead.WithLimit(breaker.Limit{Service: 100, Endpoint: 10, Queue: -1}))
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Close()

	_, err = mesh.Client().Get("http://users/")
	fmt.Println("too many:", errors.Is(err, breaker.ErrLimit))
	// Output: too many: false
}
