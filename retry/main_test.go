package retry_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	final  = balancer.Outcome{Verdict: balancer.Success}
	ifSafe = balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendIfSafe}
	always = balancer.Outcome{Verdict: balancer.Failure, Resend: balancer.ResendAlways}

	usual = retry.Situation{Replayable: true, Others: true}
)

func newPolicy(tb testing.TB, c retry.Config) *retry.Policy {
	tb.Helper()
	p, err := retry.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// noBudget is a configuration that never runs out of retries.
func noBudget(c retry.Config) retry.Config {
	c.Budget.Ratio = -1
	return c
}

// retries makes n calls whose every attempt fails and returns how many were sent again.
func retries(p *retry.Policy, n int) (again int) {
	for range n {
		call := p.Begin(true)
		for call.Next(ifSafe, usual).Again {
			again++
		}
	}
	return again
}
