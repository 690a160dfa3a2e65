package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/breaker"
)

func TestWithDefaults(t *testing.T) {
	defaults := breaker.Config{
		ConsecutiveFailures: 5, SuccessRatio: 0.8, MinSamples: 20, Window: 10 * time.Second,
		OpenFor: time.Second, MaxOpenFor: 10 * time.Second,
	}
	with := func(change func(*breaker.Config)) breaker.Config {
		c := defaults
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name         string
		config, want breaker.Config
	}{
		{"the zero value", breaker.Config{}, defaults},
		{"the defaults", defaults, defaults},
		{
			"rules off", breaker.Config{ConsecutiveFailures: -1, SuccessRatio: -1},
			with(func(c *breaker.Config) { c.ConsecutiveFailures, c.SuccessRatio = -1, -1 }),
		},
		{
			"a long OpenFor raises the maximum", breaker.Config{OpenFor: time.Minute},
			with(func(c *breaker.Config) { c.OpenFor, c.MaxOpenFor = time.Minute, time.Minute }),
		},
		{
			"a short maximum lowers OpenFor", breaker.Config{MaxOpenFor: time.Millisecond},
			with(func(c *breaker.Config) { c.OpenFor, c.MaxOpenFor = time.Millisecond, time.Millisecond }),
		},
		{
			"all set",
			breaker.Config{1, 1, 1, 100 * time.Millisecond, 1, 1},
			breaker.Config{1, 1, 1, 100 * time.Millisecond, 1, 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.config.WithDefaults()
			if err != nil || got != tt.want {
				t.Fatalf("%+v, %v\nwant %+v", got, err, tt.want)
			}
			if again, err := got.WithDefaults(); err != nil || again != got {
				t.Errorf("the second time %+v, %v\nthe first time %+v", again, err, got)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		config breaker.Config
		want   []string // the field, the value, what is allowed
	}{
		{breaker.Config{ConsecutiveFailures: -2}, []string{"ConsecutiveFailures", "-2", "1 or more", "-1 (off)"}},
		{breaker.Config{SuccessRatio: -2}, []string{"SuccessRatio", "-2", "at most 1", "-1 (off)"}},
		{breaker.Config{SuccessRatio: -0.5}, []string{"SuccessRatio", "-0.5", "at most 1"}},
		{breaker.Config{SuccessRatio: 1.01}, []string{"SuccessRatio", "1.01", "at most 1"}},
		{breaker.Config{SuccessRatio: math.NaN()}, []string{"SuccessRatio", "NaN", "at most 1"}},
		{breaker.Config{SuccessRatio: math.Inf(1)}, []string{"SuccessRatio", "+Inf", "at most 1"}},
		{breaker.Config{MinSamples: -1}, []string{"MinSamples", "-1", "1 or more"}},
		{breaker.Config{Window: -time.Second}, []string{"Window", "-1s", "at least 100ms"}},
		{breaker.Config{Window: 99 * time.Millisecond}, []string{"Window", "99ms", "at least 100ms"}},
		{breaker.Config{OpenFor: -1}, []string{"OpenFor", "-1ns", "more than 0"}},
		{breaker.Config{MaxOpenFor: -1}, []string{"MaxOpenFor", "-1ns", "more than 0"}},
		{breaker.Config{OpenFor: 2, MaxOpenFor: 1}, []string{"OpenFor", "2ns", "at most MaxOpenFor", "1ns"}},
	} {
		t.Run(tt.want[0]+" "+tt.want[1], func(t *testing.T) {
			_, err := tt.config.WithDefaults()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "breaker: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
			if b, again := breaker.New(tt.config); b != nil || again == nil || again.Error() != err.Error() {
				t.Errorf("New: %v, %v", b, again)
			}
			if g, again := breaker.NewGroup(tt.config); g != nil || again == nil || again.Error() != err.Error() {
				t.Errorf("NewGroup: %v, %v", g, again)
			}
		})
	}
}

// FuzzConfig checks that every configuration is either refused or complete and
// able to open and close a breaker.
func FuzzConfig(f *testing.F) {
	f.Add(0, 0.0, 0, int64(0), int64(0), int64(0))
	f.Add(-1, -1.0, 1, int64(time.Second), int64(1), int64(math.MaxInt64))
	f.Add(math.MaxInt32, 1.0, math.MaxInt32, int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64))
	f.Add(-2, 2.0, -1, int64(-1), int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, failures int, ratio float64, samples int, window, open, maxOpen int64) {
		c, err := breaker.Config{
			ConsecutiveFailures: failures, SuccessRatio: ratio, MinSamples: samples,
			Window: time.Duration(window), OpenFor: time.Duration(open), MaxOpenFor: time.Duration(maxOpen),
		}.WithDefaults()
		if err != nil {
			return
		}
		if again, err := c.WithDefaults(); err != nil || again != c {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
		if c.ConsecutiveFailures == 0 || c.SuccessRatio == 0 || c.MinSamples == 0 || c.Window == 0 || c.OpenFor <= 0 || c.MaxOpenFor < c.OpenFor {
			t.Errorf("incomplete: %+v", c)
		}
		b, err := breaker.New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 30 {
			call(t, b, failure)
			call(t, b, success)
		}
		if n := c.ConsecutiveFailures; n > 0 && n < 100 {
			for range n {
				call(t, b, failure)
			}
			if c.OpenFor > time.Minute && b.State() != breaker.Open {
				t.Errorf("%v after %d failures in a row", b.State(), n)
			}
		}
	})
}
