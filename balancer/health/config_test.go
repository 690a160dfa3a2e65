package health_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/balancer/health"
)

func TestDefaults(t *testing.T) {
	check, err := health.Check{}.WithDefaults()
	want := health.Check{Protocol: health.TCP, Interval: 5 * time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2}
	if diff := cmp.Diff(want, check); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	ejection, err := health.Ejection{}.WithDefaults()
	wantEjection := health.Ejection{
		Consecutive: 5, Interval: 10 * time.Second, SuccessRateFactor: 1.9, FailurePercent: 85,
		BaseTime: 30 * time.Second, MaxTime: 300 * time.Second, MaxPercent: 10,
	}
	if diff := cmp.Diff(wantEjection, ejection); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, tt := range []struct{ config, want health.Check }{
		{health.Check{Interval: 200 * time.Millisecond}, health.Check{Protocol: health.TCP, Interval: 200 * time.Millisecond, Timeout: 200 * time.Millisecond, Unhealthy: 3, Healthy: 2}},
		{health.Check{Timeout: time.Minute}, health.Check{Protocol: health.TCP, Interval: time.Minute, Timeout: time.Minute, Unhealthy: 3, Healthy: 2}},
		{health.Check{Protocol: health.HTTP}, health.Check{Protocol: health.HTTP, Path: "/", Interval: 5 * time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2}},
	} {
		got, err := tt.config.WithDefaults()
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		config any
		want   []string // the field, the value, what is allowed
	}{
		{health.Check{Protocol: "udp"}, []string{"Check.Protocol", `"udp"`, `"tcp", "http" or "grpc"`}},
		{health.Check{Path: "/x"}, []string{"Check.Path", `"/x"`, `Protocol "http"`}},
		{health.Check{Protocol: health.HTTP, Path: "x"}, []string{"Check.Path", `"x"`, "begins with /"}},
		{health.Check{Protocol: health.HTTP, Path: "/ HTTP/1.1\r\nX: y"}, []string{"Check.Path", `\r\n`, "without spaces"}},
		{health.Check{Protocol: health.HTTP, Status: 99}, []string{"Check.Status", "99", "100 to 599"}},
		{health.Check{Status: 200}, []string{"Check.Status", "200", `Protocol "http"`}},
		{health.Check{Service: "x"}, []string{"Check.Service", `"x"`, `Protocol "grpc"`}},
		{health.Check{Port: 70000}, []string{"Check.Port", "70000", "65535"}},
		{health.Check{Interval: time.Millisecond}, []string{"Check.Interval", "1ms", "at least 100ms"}},
		{health.Check{Timeout: -1}, []string{"Check.Timeout", "-1ns", "more than 0"}},
		{health.Check{Interval: time.Second, Timeout: 2 * time.Second}, []string{"Check.Timeout", "2s", "at most Interval"}},
		{health.Check{Unhealthy: -1}, []string{"Check.Unhealthy", "-1", "1 or more"}},
		{health.Check{Healthy: -1}, []string{"Check.Healthy", "-1", "1 or more"}},
		{health.Ejection{Consecutive: -2}, []string{"Ejection.Consecutive", "-2", "-1 (off)"}},
		{health.Ejection{Interval: 1}, []string{"Ejection.Interval", "1ns", "at least 100ms"}},
		{health.Ejection{SuccessRateFactor: math.NaN()}, []string{"Ejection.SuccessRateFactor", "NaN", "-1 (off)"}},
		{health.Ejection{SuccessRateFactor: math.Inf(1)}, []string{"Ejection.SuccessRateFactor", "+Inf", "-1 (off)"}},
		{health.Ejection{FailurePercent: 101}, []string{"Ejection.FailurePercent", "101", "1 to 100"}},
		{health.Ejection{BaseTime: -1}, []string{"Ejection.BaseTime", "-1ns", "more than 0"}},
		{health.Ejection{MaxTime: -1}, []string{"Ejection.MaxTime", "-1ns", "more than 0"}},
		{health.Ejection{BaseTime: 2, MaxTime: 1}, []string{"Ejection.BaseTime", "2ns", "at most MaxTime"}},
		{health.Ejection{MaxPercent: 51}, []string{"Ejection.MaxPercent", "51", "1 to 50"}},
	} {
		t.Run(tt.want[0]+" "+tt.want[1], func(t *testing.T) {
			var err error
			switch c := tt.config.(type) {
			case health.Check:
				_, err = health.NewChecker(c)
			case health.Ejection:
				_, err = health.NewEjector(c, nil)
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "health: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
		})
	}
}

// FuzzCheck checks that every configuration is either refused or complete.
func FuzzCheck(f *testing.F) {
	f.Add("", "", 0, "", 0, int64(0), int64(0), 0, 0)
	f.Add("http", "/healthz?x=1", 204, "", 8080, int64(time.Second), int64(1), 1, 1)
	f.Fuzz(func(t *testing.T, protocol, path string, status int, service string, port int, interval, timeout int64, unhealthy, healthy int) {
		c, err := health.Check{
			Protocol: health.Protocol(protocol), Path: path, Status: status, Service: service, Port: port,
			Interval: time.Duration(interval), Timeout: time.Duration(timeout), Unhealthy: unhealthy, Healthy: healthy,
		}.WithDefaults()
		if err != nil {
			return
		}
		again, err := c.WithDefaults()
		if diff := cmp.Diff(c, again); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		if c.Interval < 100*time.Millisecond || c.Timeout <= 0 || c.Timeout > c.Interval || c.Unhealthy < 1 || c.Healthy < 1 {
			t.Errorf("%+v", c)
		}
	})
}
