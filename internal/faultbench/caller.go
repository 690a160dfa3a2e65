package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// caller makes calls and records them.
type caller struct {
	load    *load
	client  *http.Client
	health  healthpb.HealthClient // nil without RPCs
	number  int
	records []record
}

type attemptsKey struct{}

// attempts counts those of one call, two of which may be under way at a time.
type attempts struct{ n atomic.Int32 }

// countAttempts is around each attempt.
func countAttempts(next http.RoundTripper) http.RoundTripper { return counting{next} }

type counting struct{ next http.RoundTripper }

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if a, ok := r.Context().Value(attemptsKey{}).(*attempts); ok {
		a.n.Add(1)
	}
	return c.next.RoundTrip(r)
}

func (c counting) CloseIdleConnections() {
	if closer, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// call makes one call and waits for the end of its answer.
func (c *caller) call(m method) {
	a := &attempts{}
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), attemptsKey{}, a), c.load.spec.Timeout)
	defer cancel()
	began := time.Now()
	r := record{start: began.Sub(c.load.began), slot: -1, method: m}
	var err error
	if m == rpc {
		err = c.rpc(ctx, &r)
	} else {
		err = c.http(ctx, &r, began)
	}
	r.whole = time.Since(began)
	if r.status == 0 || r.broken {
		r.took = max(r.took, 0)
		r.kind = errorKind(err)
	} else if r.failed() {
		r.kind = strconv.Itoa(int(r.status))
	}
	if r.took == 0 {
		r.took = r.whole
	}
	r.attempts = uint8(min(a.n.Load(), 255))
	c.records = append(c.records, r)
	if !r.failed() && !r.broken && r.slot >= 0 {
		c.load.good(int(r.slot), r.start)
	}
}

func (c *caller) http(ctx context.Context, r *record, began time.Time) error {
	req, err := c.request(ctx, r.method)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.took, r.status = time.Since(began), int16(resp.StatusCode)
	r.slot = slotOf(resp.Header.Get(serverHeader))
	_, err = io.Copy(io.Discard, resp.Body)
	r.broken = err != nil
	return err
}

func (c *caller) request(ctx context.Context, m method) (*http.Request, error) {
	const url = "http://" + service + "/"
	if m == get {
		return http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("pay"))
	if err == nil {
		req.Header.Set(callHeader, c.id())
	}
	return req, err
}

func (c *caller) rpc(ctx context.Context, r *record) error {
	var header metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, callHeader, c.id())
	_, err := c.health.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header))
	if values := header.Get(serverHeader); len(values) > 0 {
		r.slot = slotOf(values[0])
	}
	if err == nil {
		r.status = http.StatusOK
		return nil
	}
	return err
}

// id is unique in a scenario.
func (c *caller) id() string { return fmt.Sprintf("%d-%d", c.number, len(c.records)) }

func slotOf(name string) int8 {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n >= maxServers {
		return -1
	}
	return int8(n)
}
