package policytest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// Promise is what a policy promises beyond the rules of every policy.
type Promise func(*subject)

// Even promises that all ready nodes get the same share of the calls, whatever
// their weights: of an idle service and of one with calls in flight, while a node
// is not ready and after another joined.
func Even() Promise { return func(s *subject) { s.even = true } }

// Weighted promises that ready nodes get calls in proportion to their weights,
// also after a weight changed. Equal weights are tried on an idle service,
// different ones while ten calls per weight are in flight: a policy that goes by
// load has nothing to go by without any.
func Weighted() Promise { return func(s *subject) { s.weighted = true } }

// Sticky promises that calls with the same key go to the same node while that
// node is ready, and that few keys move when another node joins, leaves or stops
// being ready. A node that joins takes keys from the others, and the keys of one
// that leaves have to go elsewhere; moves is how large a share, from 0 to 1, of
// all other keys may move nonetheless. Rendezvous hashing keeps Sticky(0); with
// Sticky(1) everything may move when the nodes change, and nothing else may.
//
// Each key is the text of an IPv4 address and stands in the context of its calls
// for both [balancer.ClientIP] and [balancer.HashKey], unless [KeyedBy] says
// otherwise.
func Sticky(moves float64) Promise {
	return func(s *subject) { s.sticky, s.moves = true, moves }
}

// Consistent promises that two clients which know the same endpoints send a key
// to the same one, whatever each of them has seen before. A seed that differs
// from picker to picker is found; one that differs only from process to process
// is not: keep a few fixed keys with their endpoints in a test of your own.
func Consistent() Promise { return func(s *subject) { s.consistent = true } }

// Selective says that a ready node may be left without calls for good, such as
// the stand-in for a primary. Without it every ready node has to be reached.
func Selective() Promise { return func(s *subject) { s.selective = true } }

// KeyedBy says that the policy takes its key from what put has put into the
// call's context.
func KeyedBy(put func(ctx context.Context, key string) context.Context) Promise {
	return func(s *subject) { s.put = put }
}

// subject is a policy under test and what it promises.
type subject struct {
	policy     func() balancer.Policy
	even       bool
	weighted   bool
	sticky     bool
	moves      float64
	consistent bool
	selective  bool
	put        func(ctx context.Context, key string) context.Context
	patience   time.Duration // with a Pick that does not return
}

func newSubject(policy func() balancer.Policy, promises []Promise) (*subject, error) {
	s := &subject{policy: policy, put: putAddress, patience: 10 * time.Second}
	for _, p := range promises {
		p(s)
	}
	switch {
	case policy == nil || policy() == nil:
		return nil, errors.New("policytest: policy is nil or returns nil, want a function that makes a balancer.Policy")
	case s.even && s.weighted:
		return nil, errors.New("policytest: Even and Weighted are both promised, want one of them: they differ where weights do")
	case !(s.moves >= 0 && s.moves <= 1):
		return nil, fmt.Errorf("policytest: Sticky(%v), want a share from 0 to 1", s.moves)
	case s.put == nil:
		return nil, errors.New("policytest: KeyedBy(nil), want a function that puts a key into a context")
	}
	return s, nil
}

func putAddress(ctx context.Context, key string) context.Context {
	return balancer.WithHashKey(balancer.WithClientIP(ctx, netip.MustParseAddr(key)), key)
}
