package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Bound is something that must hold.
type Bound struct {
	Name string
	Most float64
	unit unit
	of   func(*Result) float64
}

// unit says how a figure is printed.
type unit int

const (
	plain unit = iota
	percent
	seconds
)

func (u unit) format(x float64) string {
	switch {
	case math.IsInf(x, 0) || u == seconds && x > 1e6:
		return "never"
	case u == percent:
		return fmt.Sprintf("%.3f %%", 100*x)
	case u == seconds:
		return fmt.Sprintf("%.2f s", x)
	}
	return fmt.Sprintf("%.4g", x)
}

// errorsWhile bounds the share of errors before the headers while it is wrong.
func errorsWhile(most float64) Bound {
	return Bound{"errors during the fault", most, percent, func(r *Result) float64 { return share(r.faulty(), errorsBefore) }}
}

// noErrors allows none at all before the headers of calls by these methods.
func noErrors(methods ...method) Bound {
	return Bound{"errors before the headers", 0, plain, func(r *Result) float64 {
		n := 0
		for i := range r.Records {
			if rec := &r.Records[i]; rec.failed() && slices.Contains(methods, rec.method) {
				n++
			}
		}
		return float64(n)
	}}
}

// attemptsWhile bounds the attempts per call while it is wrong, burst aside.
func attemptsWhile(most float64, burst int) Bound {
	return Bound{"attempts per call during it", most, plain, func(r *Result) float64 {
		records := r.faulty()
		return attemptsPerCall(records) - float64(burst)/float64(max(len(records), 1))
	}}
}

// letInWithin bounds the time from the end of the fault to the first good answers.
func letInWithin(d time.Duration) Bound {
	return Bound{"let in again", d.Seconds(), seconds, func(r *Result) float64 { return r.letIn().Seconds() }}
}

// fairAfter bounds chi squared of the shares since so long after being let in.
func fairAfter(d time.Duration) Bound {
	return Bound{fmt.Sprintf("unfairness since %v later", d), 1, plain, func(r *Result) float64 {
		if r.letIn() == math.MaxInt64 {
			return math.Inf(1)
		}
		return even(r.shares(r.To + r.letIn() + d))
	}}
}

// healthyWithin bounds the time from the end of the fault to the last call that failed.
func healthyWithin(d time.Duration) Bound {
	return Bound{"last error after the fault", d.Seconds(), seconds, func(r *Result) float64 { return r.lastError().Seconds() }}
}

// p99Within bounds p99 from so long after the fault began to its end, in those of
// before.
func p99Within(d time.Duration, times float64) Bound {
	return Bound{fmt.Sprintf("p99 since %v in it / steady", d), times, plain, func(r *Result) float64 {
		steady := percentile(latencies(r.steady()), 0.99)
		return float64(percentile(latencies(r.between(r.From+d, r.To)), 0.99)) / float64(max(steady, 1))
	}}
}

// warmUp is when connections are made, and is not counted as steady.
const warmUp = time.Second

func (r *Result) steady() []record { return r.between(warmUp, r.From) }

// addedErrors bounds how much larger the caller's share of errors is than the
// servers' own.
func addedErrors(most float64) Bound {
	return Bound{"errors added by the Mesh", most, percent, func(r *Result) float64 {
		own := float64(r.Counts.Failures) / float64(max(r.Counts.Requests, 1))
		return share(r.Records, errorsBefore) - own
	}}
}

// answered bounds how much longer than its deadline any call took.
func answered(slack time.Duration) Bound {
	return Bound{"longest call beyond its deadline", slack.Seconds(), seconds, func(r *Result) float64 {
		if r.Unanswered {
			return math.Inf(1)
		}
		longest := time.Duration(0)
		for i := range r.Records {
			longest = max(longest, r.Records[i].whole)
		}
		return max(0, longest-r.Scenario.Load.Timeout).Seconds()
	}}
}

// notTwice allows no call that may not be retried to be executed twice.
func notTwice() Bound {
	return Bound{"executed twice", 0, plain, func(r *Result) float64 { return float64(r.Twice) }}
}

// always is what every scenario must keep.
var always = []Bound{
	answered(2 * time.Second),
	{"goroutines left over", 0, plain, func(r *Result) float64 { return float64(r.Left.Goroutines) }},
	{"connections left over", 0, plain, func(r *Result) float64 { return float64(r.Left.Connections) }},
	{"descriptors left over", 0, plain, func(r *Result) float64 { return float64(r.Left.Descriptors) }},
	{"servers that died by themselves", 0, plain, func(r *Result) float64 { return float64(r.Died) }},
}
