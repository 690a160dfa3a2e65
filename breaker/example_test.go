package breaker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// A breaker of its own keeps calls off an endpoint that fails.
func Example() {
	b, err := breaker.New(breaker.Config{ConsecutiveFailures: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	for range 5 {
		err := b.Do(func() balancer.Outcome {
			fmt.Println("calling, and failing")
			return balancer.Outcome{Verdict: balancer.Failure}
		})
		if errors.Is(err, breaker.ErrOpen) {
			fmt.Println("not called:", err)
		}
	}
	// Output:
	// calling, and failing
	// calling, and failing
	// calling, and failing
	// not called: breaker: open
	// not called: breaker: open
}

// The breakers of a group know how many of them are closed: the fewer are left,
// the more proof it takes to open another.
func ExampleGroup() {
	group, err := breaker.NewGroup(breaker.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var members []*breaker.Breaker
	for _, name := range []string{"a", "b"} {
		b := group.Add(breaker.Hooks{Changed: func(from, to breaker.State) {
			fmt.Printf("%s: %v to %v\n", name, from, to)
		}})
		defer b.Close()
		members = append(members, b)
	}
	for _, b := range members {
		failures := 0
		for b.State() == breaker.Closed {
			token, err := b.Allow()
			if err != nil {
				return
			}
			b.Done(token, balancer.Outcome{Verdict: balancer.Failure})
			failures++
		}
		fmt.Println("failures:", failures)
	}
	// Output:
	// a: closed to open
	// failures: 5
	// b: closed to open
	// failures: 15
}

func ExampleConfig_WithDefaults() {
	config, _ := breaker.Config{}.WithDefaults()
	fmt.Printf("%+v\n", config)
	_, err := breaker.Config{SuccessRatio: 80}.WithDefaults()
	fmt.Println(err)
	// Output:
	// {ConsecutiveFailures:5 SuccessRatio:0.8 MinSamples:20 Window:10s OpenFor:1s MaxOpenFor:10s}
	// breaker: SuccessRatio is 80, want more than 0 and at most 1, 0 (meaning 0.8) or -1 (off)
}

// Two calls at a time, and nobody waits.
func ExampleLimiter() {
	limiter, err := breaker.NewLimiter(breaker.Limit{Service: 2, Queue: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	for range 3 {
		err := limiter.Acquire(ctx, nil)
		fmt.Println(err, errors.Is(err, breaker.ErrLimit))
	}
	limiter.Release()
	fmt.Println(limiter.Acquire(ctx, nil))
	// Output:
	// <nil> false
	// <nil> false
	// breaker: too many calls in flight true
	// <nil>
}
