// Package monotime is the clock of everything that a call counts by: the monotonic one
// alone, which takes two thirds of what time.Now does, and in a value a third as long.
package monotime

import "time"

// Time is the time since the process began, which is long enough ago for no Time of now
// to be zero. The zero Time may stand for one that is not known.
type Time int64

var epoch = time.Now().Add(-time.Second)

// Now returns the time of now. In the bubble of a test it is the bubble's.
func Now() Time { return Time(time.Since(epoch)) }

// Add returns the time that is later by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns how much later t is than other.
func (t Time) Sub(other Time) time.Duration { return time.Duration(t - other) }
