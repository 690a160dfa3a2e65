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

// A call that has no answer after the wait is sent once more, if the budget pays.
func ExampleHedger() {
	hedger, err := retry.NewHedger(retry.Hedge{After: 20 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := retry.New(retry.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := policy.Begin(retry.Idempotent("GET"))
	answers := make(chan string, 2)
	send := func(took time.Duration, answer string) {
		time.AfterFunc(took, func() { answers <- answer })
	}
	began := time.Now()
	send(time.Minute, "of the slow endpoint")
	var hedge <-chan time.Time
	if wait, known := hedger.Wait(); known {
		hedge = time.After(wait)
	}
	for {
		select {
		case <-hedge:
			if call.Hedge() {
				send(0, "of another endpoint")
			}
		case answer := <-answers:
			hedger.Observe(time.Since(began))
			fmt.Println("the answer", answer)
			return
		}
	}
	// Output:
	// the answer of another endpoint
}

// A service that answers nothing at all still gets a tenth of its calls.
func ExampleThrottler() {
	throttler, err := retry.NewThrottler(retry.Throttle{})
	if err != nil {
		fmt.Println(err)
		return
	}
	sent := 0
	for range 10_000 {
		if throttler.Allow() {
			sent++
			throttler.Observe(balancer.Outcome{Verdict: balancer.Failure})
		}
	}
	fmt.Println("about a tenth was sent:", 800 < sent && sent < 1200)
	// Output:
	// about a tenth was sent: true
}
