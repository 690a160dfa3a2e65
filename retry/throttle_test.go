package retry_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/retry"
)

func TestBadThrottle(t *testing.T) {
	for _, ratio := range []float64{0.5, -1, math.NaN(), math.Inf(1)} {
		if _, err := retry.NewThrottler(retry.Throttle{Ratio: ratio}); err == nil || !strings.Contains(err.Error(), "retry: Throttle.Ratio is") || !strings.Contains(err.Error(), "at least 1") {
			t.Errorf("Ratio %v: error %v", ratio, err)
		}
	}
}

// A service that can answer a hundred calls a second, of a thousand that come, gets
// two hundred.
func TestThrottleLetsTwiceAsManyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle, err := retry.NewThrottler(retry.Throttle{})
		if err != nil {
			t.Fatal(err)
		}
		run := func(seconds, capacity int) (sent int) {
			for range seconds {
				answered := 0
				for range 1000 {
					time.Sleep(time.Millisecond)
					if !throttle.Allow() {
						continue
					}
					sent++
					o := balancer.Outcome{Verdict: balancer.Overload}
					if answered < capacity {
						o.Verdict = balancer.Success
					}
					answered++
					throttle.Observe(o)
					throttle.Observe(balancer.Outcome{}) // of another call, which says nothing
				}
			}
			return sent
		}
		run(30, 100)
		if sent := run(30, 100); sent < 30*180 || sent > 30*225 {
			t.Errorf("%d calls a second were sent, want 200", sent/30)
		}
		run(60, 1000)
		if sent := run(10, 1000); sent != 10_000 {
			t.Errorf("%d of 10,000 calls were sent to a service that is well", sent)
		}
	})
}

func TestThrottleForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle, err := retry.NewThrottler(retry.Throttle{})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			throttle.Observe(balancer.Outcome{Verdict: balancer.Failure})
		}
		time.Sleep(11 * time.Second)
		if !throttle.Allow() {
			t.Error("a call was refused for failures of 11 s ago")
		}
	})
}
