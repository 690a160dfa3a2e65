package breaker_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/breaker"
)

func newLimiter(t testing.TB, l breaker.Limit) *breaker.Limiter {
	t.Helper()
	limiter, err := breaker.NewLimiter(l)
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

func TestBadLimit(t *testing.T) {
	for _, tt := range []struct {
		limit breaker.Limit
		want  []string
	}{
		{breaker.Limit{Service: -1}, []string{"Limit.Service", "-1", "any number"}},
		{breaker.Limit{Endpoint: -1}, []string{"Limit.Endpoint", "-1", "any number"}},
		{breaker.Limit{Streams: -1}, []string{"Limit.Streams", "-1", "any number"}},
		{breaker.Limit{Queue: -2}, []string{"Limit.Queue", "-2", "-1 (none)"}},
		{breaker.Limit{Service: math.MaxInt32 + 1}, []string{"Limit.Service", "2147483648"}},
	} {
		_, err := breaker.NewLimiter(tt.limit)
		if err == nil {
			t.Fatalf("%+v: no error", tt.limit)
		}
		for _, want := range append(tt.want, "breaker: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error %q does not say %q", err, want)
			}
		}
	}
}

// Without limits nothing waits.
func TestNoLimit(t *testing.T) {
	l := newLimiter(t, breaker.Limit{})
	for range 1000 {
		if err := errors.Join(l.Acquire(t.Context(), nil), l.AcquireStream(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
	}
	l.Release()
	if l.Endpoint("a") != nil {
		t.Error("an endpoint has a limit")
	}
}

// Places go to who waited longest; calls and streams do not count for one another.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, breaker.Limit{Service: 1, Streams: 1})
		if err := errors.Join(l.Acquire(t.Context(), nil), l.AcquireStream(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
		turns := make(chan int, 20)
		for i := range 10 {
			go func() {
				if err := l.Acquire(t.Context(), nil); err != nil {
					t.Error(err)
				}
				turns <- i
			}()
			synctest.Wait()
		}
		if n := l.Waiting(); n != 10 {
			t.Errorf("%d wait, want 10", n)
		}
		for i := range 10 {
			l.Release()
			if got := <-turns; got != i {
				t.Errorf("turn %d is %d's", i, got)
			}
		}
	})
}

// However waiters come and go, no place is lost and none is given twice.
func TestLimiterStress(t *testing.T) {
	const places, queue = 3, 10
	l := newLimiter(t, breaker.Limit{Service: places, Queue: queue})
	var inside, most, refused, ended atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(500))*time.Microsecond)
				err := l.Acquire(ctx, nil)
				cancel()
				switch {
				case err == nil:
					n := inside.Add(1)
					for m := most.Load(); n > m; m = most.Load() {
						most.CompareAndSwap(m, n)
					}
					for range rand.IntN(100) {
						_ = rand.Float64()
					}
					inside.Add(-1)
					l.Release()
				case errors.Is(err, context.DeadlineExceeded) && errors.Is(err, breaker.ErrLimit):
					ended.Add(1)
				case errors.Is(err, breaker.ErrLimit):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d refused, %d ended while they waited", refused.Load(), ended.Load())
	if most.Load() > places {
		t.Errorf("%d inside at a time, want at most %d", most.Load(), places)
	}
	for range places {
		if err := l.Acquire(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	ended2, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Acquire(ended2, nil); err == nil {
		t.Error("there is one place too many")
	}
	if n := l.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// The same for endpoints, whose places are found by trying.
func TestEndpointLimitStress(t *testing.T) {
	const places = 2
	l := newLimiter(t, breaker.Limit{Endpoint: places, Queue: 100})
	endpoints := []*breaker.EndpointLimit{l.Endpoint("a"), l.Endpoint("b"), l.Endpoint("c")}
	inside := make([]atomic.Int64, len(endpoints))
	enter := func() int {
		first := rand.IntN(len(endpoints))
		for i := range endpoints {
			if i = (first + i) % len(endpoints); endpoints[i].Enter() == nil {
				return i
			}
		}
		return -1
	}
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 32 {
		wg.Go(func() {
			for range 200 {
				at := enter()
				if at < 0 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(3))*time.Second*20)
					err := l.AwaitRoom(ctx, nil, breaker.Want{}, func() bool { at = enter(); return at < 0 })
					cancel()
					if err != nil {
						t.Error(err)
						continue
					}
				}
				if n := inside[at].Add(1); n > places {
					t.Errorf("%d at an endpoint at a time, want at most %d", n, places)
				}
				served.Add(1)
				inside[at].Add(-1)
				endpoints[at].Leave()
			}
		})
	}
	wg.Wait()
	if n := served.Load(); n != 32*200 {
		t.Errorf("%d served, want %d: somebody was never woken", n, 32*200)
	}
	if n := l.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// Who waits for room at an endpoint is served in the order of arrival, and looks for
// it no more than twice for each that is served.
func TestOrderOfRoom(t *testing.T) {
	const waiters = 100
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, breaker.Limit{Endpoint: 1})
		e := l.Endpoint("a")
		if err := e.Enter(); err != nil {
			t.Fatal(err)
		}
		looks := 0
		turns := make(chan int, waiters)
		for i := range waiters {
			go func() {
				err := l.AwaitRoom(t.Context(), nil, breaker.Want{}, func() bool { looks++; return e.Enter() != nil })
				if err != nil {
					t.Error(err)
				}
				turns <- i
			}()
			synctest.Wait()
		}
		if !l.Queued(breaker.Want{}) {
			t.Error("it is said that nobody waits")
		}
		for i := range waiters {
			e.Leave()
			if got := <-turns; got != i {
				t.Fatalf("turn %d is %d's", i, got)
			}
			synctest.Wait()
		}
		if looks > 2*waiters {
			t.Errorf("%d looks for %d served, want at most two each", looks, waiters)
		}
		if l.Queued(breaker.Want{}) || l.Waiting() != 0 {
			t.Errorf("%d wait", l.Waiting())
		}
	})
}

// A place that is given back unused wakes nobody, and one for which a waiter has no
// use is offered to the next.
func TestRoomThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, breaker.Limit{Endpoint: 1})
		a, b := l.Endpoint("a"), l.Endpoint("b")
		if err := errors.Join(a.Enter(), b.Enter()); err != nil {
			t.Fatal(err)
		}
		looks, served := 0, ""
		go func() { // it may use a alone, though it says that any will do
			err := l.AwaitRoom(t.Context(), nil, breaker.Want{}, func() bool { looks++; return a.Enter() != nil })
			served += "first"
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		go func() {
			err := l.AwaitRoom(t.Context(), nil, breaker.Want{}, func() bool { return b.Enter() != nil })
			served += "second,"
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		b.Undo()
		synctest.Wait()
		if looks != 1 || served != "" {
			t.Fatalf("%d looks, served: %q: the place that was undone woke somebody", looks, served)
		}
		if err := b.Enter(); err != nil {
			t.Fatal(err)
		}
		b.Leave()
		synctest.Wait()
		a.Leave()
		synctest.Wait()
		if served != "second,first" {
			t.Errorf("served: %q, want the second and then the first", served)
		}
	})
}

// Where the look for room panics, the next one looks.
func TestLookThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, breaker.Limit{Endpoint: 1})
		e := l.Endpoint("a")
		if err := e.Enter(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer func() { _ = recover() }()
			_ = l.AwaitRoom(t.Context(), nil, breaker.Want{}, func() bool {
				if e.Enter() != nil {
					return true
				}
				e.Leave()
				panic("mine")
			})
		}()
		synctest.Wait()
		served := make(chan error, 1)
		go func() {
			served <- l.AwaitRoom(t.Context(), nil, breaker.Want{}, func() bool { return e.Enter() != nil })
		}()
		synctest.Wait()
		e.Leave()
		synctest.Wait()
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("the next is not served")
		}
		if n := l.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// Those who look among other endpoints neither wait for one another nor miss what the
// others have no use for.
func TestOtherWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, breaker.Limit{Endpoint: 1})
		a, b := l.Endpoint("a"), l.Endpoint("b")
		if err := a.Enter(); err != nil {
			t.Fatal(err)
		}
		usesA, usesBoth := breaker.Want{By: "a"}, breaker.Want{By: "both"}
		served := make(chan string, 10)
		wait := func(name string, want breaker.Want, look func() bool) {
			go func() {
				if err := l.AwaitRoom(t.Context(), nil, want, look); err != nil {
					t.Error(err)
				}
				served <- name
			}()
			synctest.Wait()
		}
		fullA := func() bool { return a.Enter() != nil }
		known := false // to those who look among both
		full := func() bool { return fullA() && (!known || b.Enter() != nil) }
		wait("first", usesA, fullA)
		wait("second", usesBoth, full)
		known = true
		l.Wake() // of which the first has nothing
		if got := <-served; got != "second" {
			t.Errorf("the %s is served by the new endpoint, want the second", got)
		}
		b.Leave()
		wait("newcomer", usesBoth, full)
		if got := <-served; got != "newcomer" {
			t.Errorf("the %s is served at once, want the newcomer", got)
		}
		if l.Queued(usesBoth) || !l.Queued(usesA) {
			t.Error("it is not said who waits")
		}
		a.Leave()
		if got := <-served; got != "first" {
			t.Errorf("the %s is served in the end, want the first", got)
		}
	})
}
