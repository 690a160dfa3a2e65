package retry_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/retry"
)

func TestWithDefaults(t *testing.T) {
	ms := time.Millisecond
	defaults := retry.Config{
		Attempts: 2,
		Backoff:  retry.Backoff{Base: 25 * ms, Max: 250 * ms},
		Budget:   retry.Budget{Ratio: 0.2, Burst: 10, PerSecond: 1},
	}
	with := func(change func(*retry.Config)) retry.Config {
		c := defaults
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name         string
		config, want retry.Config
	}{
		{"the zero value", retry.Config{}, defaults},
		{"the defaults", defaults, defaults},
		{"attempts", retry.Config{Attempts: 5}, with(func(c *retry.Config) { c.Attempts = 5 })},
		{
			"a long Base raises Max", retry.Config{Backoff: retry.Backoff{Base: time.Second}},
			with(func(c *retry.Config) { c.Backoff = retry.Backoff{Base: time.Second, Max: time.Second} }),
		},
		{
			"a short Max lowers Base", retry.Config{Backoff: retry.Backoff{Max: ms}},
			with(func(c *retry.Config) { c.Backoff = retry.Backoff{Base: ms, Max: ms} }),
		},
		{
			"-1", retry.Config{Budget: retry.Budget{Ratio: -1, Burst: -1, PerSecond: -1}},
			with(func(c *retry.Config) { c.Budget = retry.Budget{Ratio: -1, Burst: -1, PerSecond: -1} }),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.config.WithDefaults()
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Fatalf("%v\n%s", err, diff)
			}
			again, err := got.WithDefaults()
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("the second time: %v\n%s", err, diff)
			}
			if diff := cmp.Diff(tt.want, newPolicy(t, tt.config).Config()); diff != "" {
				t.Errorf("Policy.Config:\n%s", diff)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	backoff := func(base, longest time.Duration) retry.Config {
		return retry.Config{Backoff: retry.Backoff{Base: base, Max: longest}}
	}
	budget := func(ratio float64, burst int, perSecond float64) retry.Config {
		return retry.Config{Budget: retry.Budget{Ratio: ratio, Burst: burst, PerSecond: perSecond}}
	}
	for _, tt := range []struct {
		config retry.Config
		want   []string // the field, the value, what is allowed
	}{
		{retry.Config{Attempts: -1}, []string{"Attempts", "-1", "1 (no retries) to 5"}},
		{retry.Config{Attempts: 6}, []string{"Attempts", "6", "1 (no retries) to 5"}},
		{retry.Config{AttemptTimeout: -1}, []string{"AttemptTimeout", "-1ns", "more than 0"}},
		{backoff(-1, 0), []string{"Backoff.Base", "-1ns", "more than 0"}},
		{backoff(0, -1), []string{"Backoff.Max", "-1ns", "more than 0"}},
		{backoff(2, 1), []string{"Backoff.Base", "2ns", "at most Backoff.Max", "1ns"}},
		{budget(-0.5, 0, 0), []string{"Budget.Ratio", "-0.5", "more than 0", "-1 (no budget)"}},
		{budget(math.NaN(), 0, 0), []string{"Budget.Ratio", "NaN", "more than 0"}},
		{budget(math.Inf(1), 0, 0), []string{"Budget.Ratio", "+Inf", "more than 0"}},
		{budget(0, -2, 0), []string{"Budget.Burst", "-2", "1 or more", "-1 (none)"}},
		{budget(0, 0, -2), []string{"Budget.PerSecond", "-2", "more than 0", "-1 (never)"}},
		{budget(0, 0, math.Inf(1)), []string{"Budget.PerSecond", "+Inf", "more than 0"}},
		{budget(0, 0, math.NaN()), []string{"Budget.PerSecond", "NaN", "more than 0"}},
	} {
		t.Run(tt.want[0]+" "+tt.want[1], func(t *testing.T) {
			_, err := tt.config.WithDefaults()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "retry: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
			if p, again := retry.New(tt.config); p != nil || again == nil || again.Error() != err.Error() {
				t.Errorf("New: %v, %v", p, again)
			}
		})
	}
}

// FuzzConfig checks that every configuration is either refused or complete and
// keeps its promises.
func FuzzConfig(f *testing.F) {
	f.Add(0, int64(0), int64(0), int64(0), 0.0, 0, 0.0)
	f.Add(5, int64(1), int64(1), int64(math.MaxInt64), -1.0, -1, -1.0)
	f.Add(5, int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), math.MaxFloat64, math.MaxInt32, math.MaxFloat64)
	f.Add(6, int64(-1), int64(-1), int64(-1), -2.0, -2, -2.0)
	f.Fuzz(func(t *testing.T, attempts int, timeout, base, longest int64, ratio float64, burst int, perSecond float64) {
		c, err := retry.Config{
			Attempts: attempts, AttemptTimeout: time.Duration(timeout),
			Backoff: retry.Backoff{Base: time.Duration(base), Max: time.Duration(longest)},
			Budget:  retry.Budget{Ratio: ratio, Burst: burst, PerSecond: perSecond},
		}.WithDefaults()
		if err != nil {
			return
		}
		again, err := c.WithDefaults()
		if diff := cmp.Diff(c, again); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		p := newPolicy(t, c)
		for range 20 {
			call, made := p.Begin(true), 1
			for {
				d := call.Next(ifSafe, usual)
				if d.Wait < 0 || d.Wait > c.Backoff.Max {
					t.Errorf("%+v waits %v", c, d.Wait)
				}
				if !d.Again {
					break
				}
				made++
			}
			if made > c.Attempts {
				t.Errorf("%d attempts of %d", made, c.Attempts)
			}
		}
		if left := p.BudgetLeft(); left < 0 || math.IsNaN(left) {
			t.Errorf("%+v leaves %v retries", c, left)
		}
	})
}
