package breaker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/breaker"
)

// TestSharedFault simulates a service whose endpoints all have the same fault:
// a bug that makes a share of all calls fail, say. Breakers cannot help, and must
// not make it worse.
func TestSharedFault(t *testing.T) {
	const between = 2 * time.Millisecond // virtual time between calls
	for _, tt := range []struct {
		size     int
		failing  float64
		mayWorse float64 // share of calls that no breaker admits
		n        int     // calls
	}{
		{3, 0.22, 0.01, 100_000},
		{3, 0.50, 0.01, 600_000}, // all three are open now and then, for some 0.3 % of the time
		{10, 0.22, 0.01, 100_000},
		{10, 0.50, 0.01, 100_000},
		{1, 0.22, 0.01, 100_000},
		{2, 0.22, 0.01, 100_000},
	} {
		t.Run(fmt.Sprintf("%d endpoints, %.0f %%", tt.size, 100*tt.failing), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, uint64(tt.size)))
				_, members := newFleet(t, breaker.Config{}, tt.size)
				defer closeAll(members)
				refused, open := 0, 0
				for i := range tt.n {
					admitted := false
					for j := range members {
						b := members[(i+j)%len(members)]
						if j == 0 && b.State() == breaker.Open {
							open++
						}
						v := success
						if random.Float64() < tt.failing {
							v = failure
						}
						if admitted = call(t, b, v); admitted {
							break
						}
					}
					if !admitted {
						refused++
					}
					time.Sleep(between)
				}
				share := float64(refused) / float64(tt.n)
				t.Logf("%.3f %% of the calls were refused, %.1f %% of the first choices were open", 100*share, 100*float64(open)/float64(tt.n))
				if share >= tt.mayWorse {
					t.Errorf("%.2f %% of the calls were refused, want less than %.0f", 100*share, 100*tt.mayWorse)
				}
			})
		})
	}
}

// TestOneBadEndpoint simulates one bad endpoint of four: no call may be refused,
// and hardly any may reach it.
func TestOneBadEndpoint(t *testing.T) {
	for _, tt := range []struct {
		name    string
		failing float64
		reach   float64 // the share of calls that may reach it
	}{
		{"dead", 1, 0.002},
		{"half dead", 0.5, 0.015},
		{"30 % failing", 0.3, 0.1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 50_000
				random := rand.New(rand.NewPCG(1, 1))
				_, members := newFleet(t, breaker.Config{}, 4)
				defer closeAll(members)
				refused, reached := 0, 0
				for i := range n {
					admitted := false
					for j := 0; j < len(members) && !admitted; j++ {
						at := (i + j) % len(members)
						v := success
						if at == 0 && random.Float64() < tt.failing {
							v = failure
						}
						if admitted = call(t, members[at], v); admitted && at == 0 {
							reached++
						}
					}
					if !admitted {
						refused++
					}
					time.Sleep(5 * time.Millisecond)
				}
				t.Logf("%.2f %% of the calls reached the bad endpoint", 100*float64(reached)/n)
				if refused > 0 {
					t.Errorf("%d calls were refused while three endpoints are well", refused)
				}
				if share := float64(reached) / n; share > tt.reach {
					t.Errorf("%.2f %% of the calls reached the bad endpoint, want at most %.2f", 100*share, 100*tt.reach)
				}
			})
		})
	}
}
