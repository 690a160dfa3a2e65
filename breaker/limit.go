package breaker

import (
	"errors"
	"fmt"
	"math"
)

// ErrLimit is in the chain of the error of a call for which there was no room: too
// many were in flight, and the queue was full or the wait for a place ended. Where the
// caller's own context ended the wait, a Mesh's error is that of the context alone.
var ErrLimit = errors.New("breaker: too many calls in flight")

// Limit says how much may be in flight at a time. The zero value limits nothing.
// Negative values are errors where nothing else is said.
type Limit struct {
	// Service is how many calls to the service there may be at a time, each from
	// its start to the end of its answer. 0 means any number.
	Service int

	// Endpoint is how many attempts there may be at one endpoint at a time. A full
	// endpoint is passed over; where all that are ready are full, a call waits. 0
	// means any number.
	Endpoint int

	// Streams is how many streams to the service there may be at a time: streaming
	// RPCs, which last for as long as their caller wants, and count neither in
	// Service nor in Endpoint. 0 means any number.
	Streams int

	// Queue is how many calls may wait for room, and how many streams for theirs.
	// Those that waited longest come first. A call waits until its deadline at
	// most. 0 means 100; -1 means none: what finds no room fails at once. More
	// than can be served within their deadlines only waste the places they get.
	Queue int
}

const defaultQueue = 100

// WithDefaults returns the limits with a zero Queue replaced by its default, or an
// error that names the field, its value and what is allowed.
func (l Limit) WithDefaults() (Limit, error) {
	for _, f := range []struct {
		name  string
		value int
	}{{"Service", l.Service}, {"Endpoint", l.Endpoint}, {"Streams", l.Streams}} {
		if f.value < 0 || f.value > math.MaxInt32 {
			return Limit{}, fmt.Errorf("breaker: Limit.%s is %d, want 1 or more, or 0 (meaning any number)", f.name, f.value)
		}
	}
	if l.Queue < off || l.Queue > math.MaxInt32 {
		return Limit{}, fmt.Errorf("breaker: Limit.Queue is %d, want 1 or more, 0 (meaning %d) or -1 (none)", l.Queue, defaultQueue)
	}
	if l.Queue == 0 {
		l.Queue = defaultQueue
	}
	return l, nil
}
