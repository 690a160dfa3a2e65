package health

import (
	"fmt"
	"math"
	"time"
)

// Ejection says when an endpoint is an outlier among its peers, and for how long it
// is advised against then. The zero value means the defaults. -1 switches a rule
// off where its comment says so; any other negative value is an error.
//
// Source: Envoy's outlier detection and gRFC A50, without their two blind spots: a
// share of 10 % never ejects anybody from fewer than ten, and a success rate that is
// far below all others' in standard deviations may be so by next to nothing where
// all others' are alike.
type Ejection struct {
	// Consecutive ejects after so many failures in a row. 0 means 5; -1 switches
	// the rule off.
	Consecutive int

	// Interval is the time from one look at the rates to the next; each look is at
	// the calls since the one before. 0 means 10 s; at least 100 ms.
	Interval time.Duration

	// SuccessRateFactor ejects those whose success rate is below the mean by more
	// than so many standard deviations, and by five points at least. It counts
	// where five endpoints or more had a hundred calls in the interval. 0 means
	// 1.9; -1 switches the rule off.
	SuccessRateFactor float64

	// FailurePercent ejects those that failed so many percent of fifty calls or
	// more in the interval. 0 means 85; at most 100; -1 switches the rule off.
	FailurePercent int

	// BaseTime is how long the first ejection lasts; the n-th lasts n times as
	// long. Each interval without ejection takes one off n. 0 means 30 s, or
	// MaxTime if that is shorter.
	BaseTime time.Duration

	// MaxTime is the longest ejection. 0 means 300 s, or BaseTime if that is longer.
	MaxTime time.Duration

	// MaxPercent is how many percent of the endpoints may be ejected at a time.
	// One may always, and never more than half of them, nor the only one. 0 means
	// 10; at most 50.
	MaxPercent int
}

const (
	off = -1

	defaultConsecutive    = 5
	defaultEjectInterval  = 10 * time.Second
	defaultSuccessFactor  = 1.9
	defaultFailurePercent = 85
	defaultBaseTime       = 30 * time.Second
	defaultMaxTime        = 300 * time.Second
	defaultMaxPercent     = 10

	successEndpoints = 5 // with that many calls
	successSamples   = 100
	successPoints    = 0.05
	failureSamples   = 50
	mostPercent      = 50
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed.
func (e Ejection) WithDefaults() (Ejection, error) {
	if err := e.validate(); err != nil {
		return Ejection{}, err
	}
	if e.Consecutive == 0 {
		e.Consecutive = defaultConsecutive
	}
	if e.Interval == 0 {
		e.Interval = defaultEjectInterval
	}
	if e.SuccessRateFactor == 0 {
		e.SuccessRateFactor = defaultSuccessFactor
	}
	if e.FailurePercent == 0 {
		e.FailurePercent = defaultFailurePercent
	}
	if e.BaseTime == 0 {
		e.BaseTime = defaultBaseTime
		if e.MaxTime > 0 {
			e.BaseTime = min(e.BaseTime, e.MaxTime)
		}
	}
	if e.MaxTime == 0 {
		e.MaxTime = max(defaultMaxTime, e.BaseTime)
	}
	if e.MaxPercent == 0 {
		e.MaxPercent = defaultMaxPercent
	}
	return e, nil
}

func (e Ejection) validate() error {
	switch {
	case e.Consecutive < off || e.Consecutive > math.MaxInt32:
		return fmt.Errorf("health: Ejection.Consecutive is %d, want 1 or more, 0 (meaning %d) or -1 (off)", e.Consecutive, defaultConsecutive)
	case e.Interval != 0 && e.Interval < minInterval:
		return fmt.Errorf("health: Ejection.Interval is %v, want at least %v, or 0 (meaning %v)", e.Interval, minInterval, defaultEjectInterval)
	case e.SuccessRateFactor != off && !(e.SuccessRateFactor >= 0 && !math.IsInf(e.SuccessRateFactor, 1)):
		return fmt.Errorf("health: Ejection.SuccessRateFactor is %v, want more than 0, 0 (meaning %v) or -1 (off)", e.SuccessRateFactor, defaultSuccessFactor)
	case e.FailurePercent < off || e.FailurePercent > 100:
		return fmt.Errorf("health: Ejection.FailurePercent is %d, want 1 to 100, 0 (meaning %d) or -1 (off)", e.FailurePercent, defaultFailurePercent)
	case e.BaseTime < 0:
		return fmt.Errorf("health: Ejection.BaseTime is %v, want more than 0, or 0 (meaning %v)", e.BaseTime, defaultBaseTime)
	case e.MaxTime < 0:
		return fmt.Errorf("health: Ejection.MaxTime is %v, want more than 0, or 0 (meaning %v)", e.MaxTime, defaultMaxTime)
	case e.MaxTime > 0 && e.BaseTime > e.MaxTime:
		return fmt.Errorf("health: Ejection.BaseTime is %v, want at most MaxTime, which is %v", e.BaseTime, e.MaxTime)
	case e.MaxPercent < 0 || e.MaxPercent > mostPercent:
		return fmt.Errorf("health: Ejection.MaxPercent is %d, want 1 to %d, or 0 (meaning %d)", e.MaxPercent, mostPercent, defaultMaxPercent)
	}
	return nil
}
