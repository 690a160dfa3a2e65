package balancer

import "github.com/fairlead-go/fairlead/internal/monotime"

// TimedGate is a Gate that counts by the clock, which the Balancer has read. Its time is
// of an internal type, so that it is of use to the Mesh alone. A breaker is none by
// itself: whoever embeds one may have a Done of its own.
type TimedGate interface {
	Gate

	// TimedDone is called in the place of Done, at the time of now. Such a Gate looks at
	// verdicts only.
	TimedDone(token any, v Verdict, now monotime.Time)
}

// nodeGate is the Gate of a node, and what else it is of what the calls ask for, found
// out once. The zero nodeGate is that of a node without gates.
type nodeGate struct {
	Gate
	timed TimedGate  // nil: it reads the clock itself
	ends  EndWatcher // nil: it does not want to know
}

// newNodeGate makes one gate of all that a node has.
func newNodeGate(gates []Gate) nodeGate {
	switch len(gates) {
	case 0:
		return nodeGate{}
	case 1:
		own := nodeGate{Gate: gates[0]}
		own.timed, _ = gates[0].(TimedGate)
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

// Ended does nothing where the Gate is no EndWatcher.
func (g *nodeGate) Ended(v Verdict) {
	if g.ends != nil {
		g.ends.Ended(v)
	}
}

// severalGates are a Gate that admits what all of them do, in turn.
type severalGates []nodeGate

var (
	_ EndWatcher = severalGates(nil)
	_ Hastener   = severalGates(nil)
)

// Allow's token is the []any of theirs. Where one refuses, those before it are told that
// nothing came of their admission.
func (s severalGates) Allow() (any, error) {
	tokens := make([]any, 0, len(s))
	for i := range s {
		token, err := s[i].Allow()
		if err != nil {
			s.Done(tokens, Outcome{})
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// Done is for the first of them where not all have admitted.
func (s severalGates) Done(tokens any, o Outcome) {
	now := monotime.Now()
	for i, token := range tokens.([]any) {
		if timed := s[i].timed; timed != nil {
			timed.TimedDone(token, o.Verdict, now)
			continue
		}
		s[i].Done(token, o)
	}
}

func (s severalGates) Hasten() {
	for i := range s {
		s[i].Hasten()
	}
}

func (s severalGates) Ended(v Verdict) {
	for i := range s {
		s[i].Ended(v)
	}
}
