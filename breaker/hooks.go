package breaker

import "context"

// Hooks are what a breaker of a [Group] calls. Both are optional, are called
// with no lock held, and may use their breaker, except that they must not Close it.
type Hooks struct {
	// Check is run in the background at the end of an open period. Its error
	// counts as a failed probe and begins another period; nil lets a live call
	// probe. ctx ends after CheckTimeout, or with Close, which waits for Check to
	// return. Without a Check the live call follows at once.
	Check func(ctx context.Context) error

	// Changed is told each change of state after it was made, in order and one
	// at a time, on the goroutine that brought one about.
	Changed func(from, to State)
}
