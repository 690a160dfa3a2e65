package balancer

// Gate decides whether a node may be called now, whatever the policy says: a
// breaker is a gate. Every admission is answered by exactly one Done.
//
// Gates are safe for concurrent use and do not block. They are called on the
// path of every call, with no lock of the Balancer held.
type Gate interface {
	// Allow admits one call and returns a token that is handed back to Done,
	// or refuses with the reason.
	Allow() (token any, err error)

	// Done tells what became of the call that token was given for.
	Done(token any, o Outcome)
}

// StatefulGate is a Gate that knows beforehand whether it would admit. The
// Balancer keeps a node out of the candidates while one of its gates does not.
type StatefulGate interface {
	Gate

	// State is read often and must not block.
	State() GateState

	// Notify is called once, when the node joins. The gate calls changed after
	// each change of its State, holding no lock.
	Notify(changed func())
}

// GateState says what a [StatefulGate] does with calls. The later states are stricter.
type GateState uint8

const (
	// Admitting lets calls pass.
	Admitting GateState = iota

	// Probing wants one call that proves the node, and refuses the others.
	// The node is no candidate; the Balancer hands it a call that can be
	// retried elsewhere, or any call when no other node is ready or it has
	// waited ten seconds for one.
	Probing

	// Refusing lets no call pass.
	Refusing
)

// EndWatcher is a Gate that also wants to know how an answered call ended.
type EndWatcher interface {
	// Ended is told Success when a call whose verdict was a success was
	// released, and Failure when its answer broke off after the verdict.
	Ended(v Verdict)
}

// Hastener is a Gate whose refusal can be shortened. Hasten is called when no
// node of the service is ready, holding no lock.
type Hastener interface {
	Hasten()
}

// Limit bounds the attempts in flight at a node. Unlike a [Gate] it is told of
// their end, and refusing is no state of its: a node that is full now remains a
// candidate, and is passed over by the pick that finds it so. It is safe for
// concurrent use and does not block.
type Limit interface {
	// Enter takes a place, or refuses with the reason.
	Enter() error

	// Leave gives a place back, when the work of an attempt is over.
	Leave()

	// Undo gives a place back that was of no use, because one of the node's gates
	// refused, or it could not be called: to whoever waits for a place nothing has
	// changed.
	Undo()
}
