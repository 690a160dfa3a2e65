package fairlead_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/retry"
)

// A service that answers one call in five gets a tenth of its calls; when it is
// well, it soon gets all of them.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(3)
		mesh := f.mesh(t, fairlead.WithThrottle(retry.Throttle{}), fairlead.WithoutRetry(), fairlead.WithoutBreaker())
		run := func(d time.Duration) (calls, throttled int64) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(ms) {
				calls++
				resp, err := mesh.RoundTrip(request(t, http.MethodGet, "http://users/", nil))
				switch {
				case errors.Is(err, retry.ErrThrottled):
					throttled++
				case err != nil:
					t.Fatal(err)
				default:
					resp.Body.Close()
				}
			}
			return calls, throttled
		}
		bad := sometimes(0.8, after(0, 503), after(0, 200))
		for _, e := range f.endpoints {
			e.does(after(0, 200))
		}
		if _, throttled := run(10 * time.Second); throttled != 0 {
			t.Errorf("%d calls to a good service were throttled", throttled)
		}
		for _, e := range f.endpoints {
			e.does(bad)
		}
		run(60 * time.Second)
		calls, throttled := run(20 * time.Second)
		if share := float64(throttled) / float64(calls); share < 0.85 || share > 0.92 {
			t.Errorf("%.3f of calls were throttled, want 0.9", share)
		}
		for _, e := range f.endpoints {
			e.does(after(0, 200))
		}
		run(40 * time.Second)
		if _, throttled := run(10 * time.Second); throttled != 0 {
			t.Errorf("%d calls were throttled 40 s after the service was well", throttled)
		}
	})
}
