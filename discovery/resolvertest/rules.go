package resolvertest

import "context"

// rule is one promise of the contract.
type rule struct {
	name     string
	contract string // in the words of package discovery
	needs    need
	check    func(ctx context.Context, s Subject) error
}

// need is what a Subject must be able to do for a rule to be tested.
type need int

const (
	change need = 1 << iota
	unknown
	failure
	refresh
	weights
)

var rules = []rule{
	{
		"the first snapshot is complete and valid",
		"Watch yields the first snapshot as soon as it is known, each of them complete; each identity stands once.",
		0, firstSnapshot,
	},
	{
		"a join is followed",
		"Watch yields a snapshot for each change, each of them complete: what stays is in all of them.",
		change, join,
	},
	{
		"a leave is followed",
		"Watch yields a snapshot for each change, each of them complete: what stays is in all of them.",
		change, leave,
	},
	{
		"a replacement is followed",
		"Watch yields a snapshot for each change, each of them complete: what stays is in all of them.",
		change, replacement,
	},
	{
		"a weight changes in place",
		"What happened to an endpoint is remembered by its ID, so a new weight must not bring a new identity, nor take the endpoint away for a moment.",
		change | weights, reweigh,
	},
	{
		"equal snapshots are not yielded again",
		"Watch yields one snapshot for each change, and nothing where nothing changed.",
		change, equal,
	},
	{
		"a yielded snapshot never changes",
		"A snapshot is never changed after it was yielded, neither by its source nor by its reader.",
		change, immutable,
	},
	{
		"a service that all have left is empty and not unknown",
		"Unknown says that the source has never heard of the service; an empty snapshot that nobody serves it now.",
		change, empty,
	},
	{
		"a name never heard of is unknown",
		"Unknown says that the source has never heard of the service. Endpoints is empty then.",
		unknown, neverHeard,
	},
	{
		"while the source fails the last set stands",
		"An error in place of a snapshot means \"keep what you have\". A Resolver never yields an empty snapshot because something failed.",
		change | failure, lastSet,
	},
	{
		"after a failure changes are followed",
		"The sequence goes on after an error, and what it yields then is complete: none is empty because something failed.",
		change | failure, recovery,
	},
	{
		"after a failure the last set is said again",
		"When all is well again what is known is yielded once more: only that says so. Nothing else comes before it, least of all an empty snapshot.",
		change | failure, saidAgain,
	},
	{
		"a watch returns whose context ended before",
		"The sequence returns well within a second after its context ended.",
		0, endedBefore,
	},
	{
		"a waiting watch returns when its context ends",
		"The sequence blocks between its yields, and returns well within a second after its context ended.",
		0, endsWaiting,
	},
	{
		"a sequence can be left at its first yield",
		"The sequence returns when yield returns false, and does not call it again.",
		0, left,
	},
	{
		"a sequence can be ranged over twice",
		"Each range over a sequence begins with the first snapshot.",
		0, twice,
	},
	{
		"many watches at once say the same",
		"Implementations are safe for concurrent use; each watch yields every snapshot.",
		0, many,
	},
	{
		"Watch does not block",
		"The sequence runs on the goroutine that ranges over it; Watch itself only makes it.",
		0, watchReturns,
	},
	{
		"Refresh does not block",
		"Refresh does not block and may be ignored.",
		refresh, refreshReturns,
	},
	{
		"no goroutine stays behind",
		"Nothing runs for a watch that has ended.",
		0, goroutines,
	},
}
