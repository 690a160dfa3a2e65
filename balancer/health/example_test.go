package health_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/fairlead-go/fairlead/balancer/health"
)

// A Checker can be used without a Mesh.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()

	checker, err := health.NewChecker(health.Check{Protocol: health.HTTP, Path: "/healthz"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(checker.Check(context.Background(), health.Target{Addr: server.Listener.Addr().String()}))
	// Output: health: the answer's status is 503, want 200 to 299
}
