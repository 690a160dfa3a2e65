package balancer

import "github.com/fairlead-go/fairlead/internal/monotime"

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

// timedGate is a Gate that counts by the clock, which the Balancer has read. A breaker is
// none by itself: whoever embeds one may have a Done of its own.
type timedGate interface {
	Gate

	// TimedDone is Done at the time of now, for a Gate that looks at verdicts only.
	TimedDone(token any, v Verdict, now monotime.Time)
}

// nodeGate is the Gate of a node, and what else it is of what the calls ask for, found
// out once. The zero nodeGate is that of a node without gates.
type nodeGate struct {
	Gate
	timed timedGate  // nil: it reads the clock itself
	ends  EndWatcher // nil: it does not want to know
}

// newNodeGate makes one gate of all that a node has.
func newNodeGate(gates []Gate) nodeGate {
	switch len(gates) {
	case 0:
		return nodeGate{}
	case 1:
		own := nodeGate{Gate: gates[0]}
		own.timed, _ = gates[0].(timedGate)
		own.ends, _ = gates[0].(EndWatcher)
		return own
	}
	all := make(severalGates, len(gates))
	for i := range gates {
		all[i] = newNodeGate(gates[i : i+1])
	}
	return nodeGate{Gate: all, ends: all}
}

// Hasten does nothing where the Gate is no Hastener.
func (g *nodeGate) Hasten() {
	if h, ok := g.Gate.(Hastener); ok {
		h.Hasten()
	}
}

// severalGates are a Gate that admits what all of them do, in turn.
type severalGates []nodeGate

// Allow's token is the []any of theirs. Where one refuses, those before it are told that
// nothing came of their admission.
func (all severalGates) Allow() (any, error) {
	tokens := make([]any, 0, len(all))
	for i := range all {
		token, err := all[i].Allow()
		if err != nil {
			all.Done(tokens, Outcome{})
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// Done is for the first of them where not all have admitted.
func (all severalGates) Done(token any, o Outcome) {
	now := monotime.Now()
	for i, token := range token.([]any) {
		if timed := all[i].timed; timed != nil {
			timed.TimedDone(token, o.Verdict, now)
			continue
		}
		all[i].Done(token, o)
	}
}

func (all severalGates) Hasten() {
	for i := range all {
		all[i].Hasten()
	}
}

func (all severalGates) Ended(v Verdict) {
	for i := range all {
		if ends := all[i].ends; ends != nil {
			ends.Ended(v)
		}
	}
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
