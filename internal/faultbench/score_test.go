package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/fairlead-go/fairlead/balancer"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, test := range []struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.999, 7},
		{[]time.Duration{1, 2}, 0.5, 1},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{hundred, 0, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.991, 100},
		{hundred, 1, 100},
	} {
		if got := percentile(test.of, test.p); got != test.want {
			t.Errorf("percentile %v of %d is %d, want %d", test.p, len(test.of), got, test.want)
		}
	}
}

// The quantiles are those of R's qchisq(1e-6, k, lower.tail = FALSE).
func TestEven(t *testing.T) {
	for freedom, want := range map[int]float64{1: 23.928, 2: 27.631, 5: 35.888, 11: 48.866} {
		if got := critical(freedom); math.Abs(got-want) > 0.05 {
			t.Errorf("the quantile of %d degrees of freedom is %.3f, want %.3f", freedom, got, want)
		}
	}
	for _, test := range []struct {
		counts []int
		fair   bool
	}{
		{[]int{1000, 1000, 1000}, true},
		{[]int{1050, 950, 1000}, true},
		{[]int{1200, 900, 900}, false},
		{[]int{1500, 1500, 0}, false},
		{[]int{0, 0, 0}, false},
	} {
		if got := even(test.counts); (got <= 1) != test.fair {
			t.Errorf("%v has %.2f, want fair to be %v", test.counts, got, test.fair)
		}
	}
}

func TestErrorKind(t *testing.T) {
	for want, err := range map[string]error{
		"all breakers open":  fmt.Errorf("wrapped: %w", balancer.ErrAllRejected),
		"timeout":            context.DeadlineExceeded,
		"connection refused": fmt.Errorf("dial 127.0.0.1:1234: %w", syscall.ECONNREFUSED),
		"unexpected EOF":     fmt.Errorf("from 127.0.0.1:1234: %w", io.ErrUnexpectedEOF),
		"rpc Unavailable":    grpcstatus.Error(codes.Unavailable, "127.0.0.1:1234"),
		"odd":                errors.New("odd"),
	} {
		if got := errorKind(err); got != want {
			t.Errorf("%v is called %q, want %q", err, got, want)
		}
	}
}

// sample has a call each 10 ms for 12 s: 503 from server 0 while it is wrong from
// 2 s to 4 s, with a second attempt each, and then all in turn.
func sample() *Result {
	s := sound()
	r := &Result{Scenario: &s, From: 2 * second, To: 4 * second, Counts: Counts{Requests: 1300, Failures: 100}}
	for i := range 1200 {
		rec := record{start: time.Duration(i) * 10 * time.Millisecond, took: 5 * time.Millisecond, status: 200, attempts: 1, slot: int8(i % 3)}
		rec.whole = rec.took
		if rec.start >= r.From && rec.start < r.To {
			rec.attempts, rec.took, rec.slot = 2, 20*time.Millisecond, int8(1+i%2)
			if i%2 == 0 {
				rec.status, rec.slot, rec.kind = 503, 0, "503"
			}
		}
		r.Records = append(r.Records, rec)
	}
	return r
}

func TestBounds(t *testing.T) {
	for _, test := range []struct {
		name   string
		bound  Bound
		change func(*Result)
		want   float64
	}{
		{"errors while it was wrong", errorsWhile(0), nil, 0.5},
		{"errors of all", noErrors(get), nil, 100},
		{"errors of others", noErrors(post), nil, 0},
		{"attempts", attemptsWhile(0, 0), nil, 2},
		{"attempts but for a burst", attemptsWhile(0, 10), nil, 1.95},
		{"let in", letInWithin(0), nil, 0.025},
		{"never let in", letInWithin(0), func(r *Result) { r.Records = r.Records[:401] }, time.Duration(math.MaxInt64).Seconds()},
		{"fair", fairAfter(3 * second), nil, 0},
		{"healthy at once", healthyWithin(0), nil, 0},
		{"healthy later", healthyWithin(0), func(r *Result) { r.Records[500].status = 0 }, 1},
		{"p99", p99Within(second, 0), nil, 4},
		{"added errors", addedErrors(0), nil, 100.0/1200 - 100.0/1300},
		{"answered", answered(0), nil, 0},
		{"answered late", answered(0), func(r *Result) { r.Records[5].whole = r.Scenario.Load.Timeout + second }, 1},
		{"unanswered", answered(0), func(r *Result) { r.Unanswered = true }, math.Inf(1)},
		{"executed twice", notTwice(), func(r *Result) { r.Twice = 3 }, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := sample()
			if test.change != nil {
				test.change(r)
			}
			got := test.bound.of(r)
			if got != test.want && !(math.Abs(got-test.want) <= 0.001) {
				t.Errorf("%s is %v, want %v", test.bound.Name, got, test.want)
			}
		})
	}
}

func TestLeftOver(t *testing.T) {
	before := measure()
	stop := make(chan struct{})
	go func() { <-stop }()
	if left := leftOver(before, 50*time.Millisecond); left != (usage{Goroutines: 1}) {
		t.Errorf("left over: %+v, want one goroutine", left)
	}
	close(stop)
	if left := leftOver(before, 5*second); left != (usage{}) {
		t.Errorf("left over: %+v, want nothing", left)
	}
}
