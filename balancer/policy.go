package balancer

import (
	"context"
	"net/netip"
	"time"
)

// Policy says who is called next. A Policy has no state of its own: it makes
// Pickers. It is shared by all services that use it.
type Policy interface {
	// Name is the policy's name for people: logs and the status page.
	Name() string

	// NewPicker returns a Picker over nodes, which are all members; Node.Ready
	// tells who is a candidate now. It is called with no lock held when members,
	// weights or readiness change, for the Picker of one [View] by one goroutine
	// at a time. prev is the Picker that the new one replaces (nil for the first),
	// so that tables and statistics can survive; it may be returned again. nodes
	// must be neither kept nor changed past the life of the Picker, and are ordered
	// by ID. A Policy may be made of another that is given some of the nodes: those
	// of the own zone, for instance.
	NewPicker(nodes []*Node, prev Picker) Picker
}

// Picker chooses among the nodes it was made for. It only chooses: the Balancer
// counts, asks the gates and picks again when they refuse.
type Picker interface {
	// Pick returns a node that the call does not avoid, or a Choice without a
	// node when there is none. It must not block or allocate, and is called
	// from many goroutines at once. It must not keep info either: another call
	// may have its place when this one has ended.
	Pick(info *Info) Choice
}

// Observer is a Picker that learns from outcomes. Observe is called once per
// verdict, with the time from the pick to the verdict, on the goroutine of the
// call. It must not block.
type Observer interface {
	Observe(n *Node, o Outcome, latency time.Duration)
}

// Choice is a Picker's answer.
type Choice struct {
	// Node is nil when no node is left.
	Node *Node

	// Reason says in a few constant words why this node; for traces and metrics.
	Reason string
}

// Info is what a pick may know of its call. One Info belongs to one call: it
// remembers, over the call's attempts, which nodes to avoid. It is for one
// goroutine at a time.
type Info struct {
	// Context carries the client's address and the hash key; nil means none.
	Context context.Context

	// Retryable says that, should this attempt fail, another would follow. Only
	// such a call is handed to a half-open node while others are ready and it
	// has waited less than ten seconds.
	Retryable bool

	// Hedge says that the attempt is one beside another of its call, which may be
	// given up at any moment: it is handed neither to a half-open node nor to one
	// that the call has tried.
	Hedge bool

	full bool // a node's limit refused, during the last pick; here it takes no room of its own

	// Stream says that the attempt may last for as long as its caller wants, so
	// that it does not count in a node's [Limit].
	Stream bool

	// Endpoint, if not empty, is the ID of the only endpoint that will do. The
	// Balancer sees to that: a Picker need not look at it.
	Endpoint string

	tried   nodeSet // by earlier attempts of this call
	refused nodeSet // by their gates, during this pick
}

// Full reports whether the last pick passed over a node because its [Limit] was
// reached: had that failed, another would succeed as soon as there is room.
func (i *Info) Full() bool { return i.full }

// Avoid makes the following picks of this call choose others, as long as there are others.
func (i *Info) Avoid(n *Node) { i.tried.add(n) }

// Avoids reports whether the call wants another node than n.
func (i *Info) Avoids(n *Node) bool {
	if n == nil || i.tried.empty() && i.refused.empty() {
		return false
	}
	return i.tried.has(n) || i.refused.has(n)
}

type contextKey int

const (
	clientIPKey contextKey = iota
	hashKeyKey
)

// WithClientIP returns a context that carries the end user's address, for
// [IPHash]. An invalid address carries nothing.
func WithClientIP(ctx context.Context, addr netip.Addr) context.Context {
	if !addr.IsValid() {
		return ctx
	}
	return context.WithValue(ctx, clientIPKey, addr.Unmap().WithZone(""))
}

// ClientIP returns the address that [WithClientIP] put into ctx.
func ClientIP(ctx context.Context) (netip.Addr, bool) {
	if ctx == nil {
		return netip.Addr{}, false
	}
	addr, ok := ctx.Value(clientIPKey).(netip.Addr)
	return addr, ok
}

// WithHashKey returns a context that carries a key for the hashing policies:
// calls with the same key go to the same endpoint. An empty key carries nothing.
func WithHashKey(ctx context.Context, key string) context.Context {
	if key == "" {
		return ctx
	}
	return context.WithValue(ctx, hashKeyKey, key)
}

// HashKey returns the key that [WithHashKey] put into ctx.
func HashKey(ctx context.Context) (string, bool) {
	if ctx == nil {
		return "", false
	}
	key, ok := ctx.Value(hashKeyKey).(string)
	return key, ok
}
