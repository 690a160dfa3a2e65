package breaker_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBreaker(tb testing.TB, c breaker.Config) *breaker.Breaker {
	tb.Helper()
	b, err := breaker.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

func newGroup(tb testing.TB, c breaker.Config) *breaker.Group {
	tb.Helper()
	g, err := breaker.NewGroup(c)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// newFleet returns a group and n members.
func newFleet(tb testing.TB, c breaker.Config, n int) (*breaker.Group, []*breaker.Breaker) {
	tb.Helper()
	g := newGroup(tb, c)
	return g, add(tb, g, n)
}

func add(tb testing.TB, g *breaker.Group, n int) []*breaker.Breaker {
	members := make([]*breaker.Breaker, n)
	for i := range members {
		members[i] = g.Add(breaker.Hooks{})
		tb.Cleanup(members[i].Close)
	}
	return members
}

// call makes a call with the given verdict, and reports whether it was admitted.
func call(tb testing.TB, b *breaker.Breaker, v balancer.Verdict) bool {
	tb.Helper()
	token, err := b.Allow()
	if err != nil {
		if !errors.Is(err, breaker.ErrOpen) {
			tb.Errorf("Allow: %v, want ErrOpen", err)
		}
		return false
	}
	b.Done(token, balancer.Outcome{Verdict: v})
	return true
}

func calls(tb testing.TB, b *breaker.Breaker, n int, v balancer.Verdict) {
	tb.Helper()
	for i := range n {
		if !call(tb, b, v) {
			tb.Fatalf("call %d of %d was refused", i+1, n)
		}
	}
}

func admit(tb testing.TB, b *breaker.Breaker) (token any) {
	tb.Helper()
	token, err := b.Allow()
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func wantState(tb testing.TB, b *breaker.Breaker, want breaker.State) {
	tb.Helper()
	if got := b.State(); got != want {
		tb.Fatalf("the breaker is %v, want %v", got, want)
	}
}

// openPeriod waits in a bubble for the end of an open period and returns how
// long that took, to a millisecond.
func openPeriod(tb testing.TB, b *breaker.Breaker) time.Duration {
	tb.Helper()
	wantState(tb, b, breaker.Open)
	began := time.Now()
	for b.State() == breaker.Open {
		if time.Since(began) > time.Hour {
			tb.Fatal("open for an hour")
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// wantPeriod checks an open period against the nominal one: varied by a fifth.
func wantPeriod(tb testing.TB, got, nominal, longest time.Duration) {
	tb.Helper()
	if least, most := nominal*4/5, min(nominal*6/5, longest)+time.Millisecond; got < least || got > most {
		tb.Fatalf("open for %v, want %v to %v", got, least, most)
	}
}
