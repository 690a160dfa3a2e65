package retry_test

import (
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

// Next is asked after each attempt.
func Example() {
	policy, err := retry.New(retry.Config{Attempts: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	answers := []balancer.Outcome{
		{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe},
		{Verdict: balancer.Success},
	}
	call := policy.Begin(retry.Idempotent("GET"))
	for _, outcome := range answers {
		next := call.Next(outcome, retry.Situation{Replayable: true, Others: true})
		fmt.Printf("%v: %v\n", outcome.Verdict, next.Reason)
		<-time.After(next.Wait)
	}
	// Output:
	// failure: sent
	// success: final
}

// A budget keeps the retries of a service from multiplying its load.
func ExampleBudget() {
	policy, err := retry.New(retry.Config{Budget: retry.Budget{Ratio: 0.1, Burst: 5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	count := make(map[retry.Reason]int)
	for range 100 {
		call := policy.Begin(true)
		next := call.Next(balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}, retry.Situation{Replayable: true, Others: true})
		count[next.Reason]++
	}
	fmt.Println(count)
	// Output:
	// map[budget:85 sent:15]
}

func ExampleIdempotent() {
	fmt.Println(retry.Idempotent("PUT"), retry.Idempotent("POST"))
	// Output: true false
}
