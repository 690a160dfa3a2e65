package breaker

// State is what a Breaker does with calls.
type State uint32

// The states of a Breaker.
const (
	Closed   State = iota // calls pass
	Open                  // no call passes
	HalfOpen              // one call passes as the probe
)

// String returns "closed", "open" or "half-open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	}
	return "invalid"
}
