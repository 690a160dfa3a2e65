package policytest_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/policytest"
)

// custom is a policy made of functions, each of which can be broken.
type custom struct {
	name  func() string
	build func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker
}

func (c custom) Name() string { return c.name() }

func (c custom) NewPicker(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
	return c.build(nodes, prev)
}

type pickFunc func(info *balancer.Info) balancer.Choice

func (f pickFunc) Pick(info *balancer.Info) balancer.Choice { return f(info) }

// sound picks at random and does nothing wrong.
func sound() custom {
	return custom{
		name: func() string { return "custom" },
		build: func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(readyOf(nodes))
		},
	}
}

func readyOf(nodes []*balancer.Node) []*balancer.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *balancer.Node) bool { return !n.Ready() })
}

// anyOf picks one of nodes at random, or the next that the call does not avoid.
func anyOf(nodes []*balancer.Node) *anyPicker { return &anyPicker{nodes: nodes} }

type anyPicker struct{ nodes []*balancer.Node }

func (p *anyPicker) Pick(info *balancer.Info) balancer.Choice {
	return choose(p.nodes, func(n int) int { return rand.IntN(n) }, info)
}

func choose(nodes []*balancer.Node, index func(n int) int, info *balancer.Info) balancer.Choice {
	if len(nodes) == 0 {
		return balancer.Choice{}
	}
	at := index(len(nodes))
	for i := range nodes {
		if n := nodes[(at+i)%len(nodes)]; !info.Avoids(n) {
			return balancer.Choice{Node: n, Reason: "any"}
		}
	}
	return balancer.Choice{}
}

// picking is sound but for what pick does with the ready nodes.
func picking(pick func(ready []*balancer.Node, info *balancer.Info) balancer.Choice) func() balancer.Policy {
	return building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
		ready := readyOf(nodes)
		return pickFunc(func(info *balancer.Info) balancer.Choice { return pick(ready, info) })
	})
}

func building(build func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker) func() balancer.Policy {
	return func() balancer.Policy {
		c := sound()
		c.build = build
		return c
	}
}

// after lets change spoil what a sound policy chose.
func after(change func(c balancer.Choice) balancer.Choice) func() balancer.Policy {
	return picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
		return change(anyOf(ready).Pick(info))
	})
}

func keyOf(info *balancer.Info) string {
	key, _ := balancer.HashKey(info.Context)
	return key
}

// hashing picks by a hash over so many nodes.
func hashing(hash func(key string) uint64) func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
	return func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
		return choose(ready, func(n int) int { return int(hash(keyOf(info)) % uint64(n)) }, info)
	}
}

var seed = maphash.MakeSeed()

func steady(key string) uint64 { return maphash.String(seed, key) }

// A sound policy of each kind is found to be sound.
func TestSound(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   func() balancer.Policy
		promises []policytest.Promise
	}{
		{"at random", func() balancer.Policy { return sound() }, nil},
		{"by a hash, all of which may move", picking(hashing(steady)), []policytest.Promise{policytest.Sticky(1), policytest.Consistent()}},
		{"by a key of its own", picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			tenant := ""
			if info.Context != nil {
				tenant, _ = info.Context.Value(tenantKey{}).(string)
			}
			return choose(ready, func(n int) int { return int(steady(tenant) % uint64(n)) }, info)
		}), []policytest.Promise{policytest.KeyedBy(withTenant), policytest.Sticky(1), policytest.Consistent()}},
		{"the first that is ready", building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				for _, n := range nodes {
					if n.Ready() && !info.Avoids(n) {
						return balancer.Choice{Node: n, Reason: "first"}
					}
				}
				return balancer.Choice{}
			})
		}), []policytest.Promise{policytest.Selective()}},
		{"an observer", building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return &observer{anyPicker: anyOf(readyOf(nodes))}
		}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for rule, err := range policytest.Broken(t, tt.policy, tt.promises...) {
				t.Errorf("%s: %v", rule, err)
			}
		})
	}
}

type observer struct {
	*anyPicker
	mu      sync.Mutex
	latency time.Duration // guarded by mu
}

func (o *observer) Observe(_ *balancer.Node, _ balancer.Outcome, latency time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latency += latency
}

// knowing is an observer that knows only its own nodes.
type knowing struct {
	*anyPicker
	mu   sync.Mutex
	seen map[*balancer.Node]*time.Duration // guarded by mu
}

func newKnowing(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	p := &knowing{anyPicker: anyOf(readyOf(nodes)), seen: make(map[*balancer.Node]*time.Duration)}
	for _, n := range nodes {
		p.seen[n] = new(time.Duration)
	}
	return p
}

func (p *knowing) Observe(n *balancer.Node, _ balancer.Outcome, latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.seen[n] += latency
}

// linked keeps all that were before it.
type linked struct {
	*anyPicker
	prev balancer.Picker
}

// sticker remembers what it was made for.
type sticker struct {
	*anyPicker
	all []*balancer.Node
}

// expand repeats each ready node as often as its weight says.
func expand(nodes []*balancer.Node) []*balancer.Node {
	var turns []*balancer.Node
	for _, n := range readyOf(nodes) {
		turns = append(turns, slices.Repeat([]*balancer.Node{n}, n.Weight())...)
	}
	return turns
}

// nine reports whether nodes are those that must not be changed: mistakes that
// are races too are made only there.
func nine(nodes []*balancer.Node) bool { return len(nodes) == 9 && !nodes[0].Ready() }

// brokenPolicy is a policy with one mistake.
type brokenPolicy struct {
	name     string
	policy   func() balancer.Policy
	promises []policytest.Promise
	caught   string // by the rules of these names, and no other
}

func brokenPolicies(t *testing.T) []brokenPolicy {
	blocked := make(chan struct{})
	t.Cleanup(func() { close(blocked) })
	even, weighted, selective := policytest.Even(), policytest.Weighted(), policytest.Selective()
	return []brokenPolicy{
		{name: "Pick blocks for ever", caught: "returns", policy: after(func(c balancer.Choice) balancer.Choice {
			<-blocked
			return c
		})},
		{name: "Pick sleeps", caught: "waits", policy: after(func(c balancer.Choice) balancer.Choice {
			time.Sleep(time.Microsecond)
			return c
		})},
		{name: "NewPicker sleeps", caught: "waits", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			time.Sleep(time.Microsecond)
			return anyOf(readyOf(nodes))
		})},
		{name: "no Name", caught: "name", policy: func() balancer.Policy {
			c := sound()
			c.name = func() string { return " " }
			return c
		}},
		{name: "Name counts the pickers", caught: "name", policy: func() balancer.Policy {
			made, c := 0, sound()
			c.name = func() string { return fmt.Sprint("custom ", made) }
			build := c.build
			c.build = func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
				made++
				return build(nodes, prev)
			}
			return c
		}},
		{name: "Name differs from Policy to Policy", caught: "name", policy: func() balancer.Policy {
			c, name := sound(), fmt.Sprint(rand.Uint64())
			c.name = func() string { return name }
			return c
		}},
		{name: "prev is thought to be its own", caught: "prev", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			if prev != nil {
				_ = prev.(*anyPicker)
			}
			return anyOf(readyOf(nodes))
		})},
		{name: "no Picker after another policy's", caught: "prev", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			if _, ok := prev.(*anyPicker); !ok && prev != nil {
				return nil
			}
			return anyOf(readyOf(nodes))
		})},
		{name: "without nodes it panics", caught: "empty", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			_ = ready[0]
			return anyOf(ready).Pick(info)
		})},
		{name: "without nodes the old ones are picked", caught: "empty", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			if prev != nil && len(nodes) == 0 {
				return prev
			}
			return anyOf(readyOf(nodes))
		})},
		{name: "one that left of ten is picked until another does", caught: "members", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			if old, ok := prev.(*sticker); ok && len(old.all) == 10 && len(nodes) == 9 {
				return old
			}
			return &sticker{anyPicker: anyOf(readyOf(nodes)), all: slices.Clone(nodes)}
		})},
		{name: "nodes are remembered by ID in the Policy", caught: "leavers shared", policy: func() balancer.Policy {
			c, known, mu := sound(), map[string]*balancer.Node{}, sync.Mutex{}
			c.build = func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
				mu.Lock()
				defer mu.Unlock()
				own := make([]*balancer.Node, len(nodes))
				for i, n := range nodes {
					if known[n.ID()] == nil {
						known[n.ID()] = n
					}
					own[i] = known[n.ID()]
				}
				return anyOf(readyOf(own))
			}
			return c
		}},
		{name: "readiness does not matter", caught: "ready", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(slices.Clone(nodes))
		})},
		{name: "only draining matters", caught: "ready", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(slices.DeleteFunc(slices.Clone(nodes), func(n *balancer.Node) bool { return n.State() == balancer.Draining }))
		})},
		{name: "a draining node is picked", caught: "ready", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(slices.DeleteFunc(slices.Clone(nodes), func(n *balancer.Node) bool {
				return n.State() != balancer.Draining && !n.Ready()
			}))
		})},
		{name: "a half-open node is picked", caught: "ready", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(slices.DeleteFunc(slices.Clone(nodes), func(n *balancer.Node) bool {
				return n.State() != balancer.HalfOpen && !n.Ready()
			}))
		})},
		{name: "readiness is looked at when members change", caught: "ready", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			if old, ok := prev.(*sticker); ok && slices.Equal(old.all, nodes) {
				return old
			}
			return &sticker{anyPicker: anyOf(readyOf(nodes)), all: slices.Clone(nodes)}
		})},
		{name: "ready nodes of ten are looked for in three places", caught: "ready", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			if len(nodes) != 10 {
				return anyOf(readyOf(nodes))
			}
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				for range 3 {
					if c := anyOf(nodes).Pick(info); c.Node != nil && c.Node.Ready() {
						return c
					}
				}
				return balancer.Choice{}
			})
		})},
		{name: "an avoided node is picked", caught: "avoid", policy: picking(func(ready []*balancer.Node, _ *balancer.Info) balancer.Choice {
			return anyOf(ready).Pick(&balancer.Info{})
		})},
		{name: "an avoided node is picked when all are", caught: "avoid", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if c := anyOf(ready).Pick(info); c.Node != nil {
				return c
			}
			return anyOf(ready).Pick(&balancer.Info{})
		})},
		{name: "the stand-in for an avoided node is avoided too", caught: "avoid", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if c := anyOf(ready).Pick(&balancer.Info{}); c.Node == nil || !info.Avoids(c.Node) {
				return c
			}
			return anyOf(ready).Pick(&balancer.Info{})
		})},
		{name: "a context is needed", caught: "context", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if len(ready) == 5 && info.Retryable {
				_ = info.Context.Err()
			}
			return anyOf(ready).Pick(info)
		})},
		{name: "a key is needed", caught: "context", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if keyOf(info) == "" && info.Context != nil {
				return balancer.Choice{}
			}
			return anyOf(ready).Pick(info)
		})},
		{name: "not a thousand nodes of weight 1", caught: "sizes", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			if len(ready) == 1000 && ready[1].Weight() == 1 {
				return balancer.Choice{}
			}
			return anyOf(ready).Pick(info)
		})},
		{name: "weights are written out as turns", caught: "weights", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(expand(nodes))
		})},
		{name: "the product of two weights overflows", caught: "weights", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			return anyOf(slices.DeleteFunc(readyOf(nodes), func(n *balancer.Node) bool {
				w := int32(n.Weight())
				return w*w < 0
			}))
		})},
		{name: "only the first", caught: "reach", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			return choose(ready, func(int) int { return 0 }, info)
		})},
		{name: "never the last", caught: "reach", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			return choose(ready, func(n int) int { return rand.IntN(max(n-1, 1)) }, info)
		})},
		{name: "no Reason", caught: "reason", policy: after(func(c balancer.Choice) balancer.Choice {
			c.Reason = ""
			return c
		})},
		{name: "Reason names the node", caught: "reason", policy: after(func(c balancer.Choice) balancer.Choice {
			if c.Node != nil {
				c.Reason = c.Node.ID()
			}
			return c
		})},
		{name: "Reason names the node where two are avoided", caught: "reason", policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			c := anyOf(ready).Pick(info)
			avoided := 0
			for _, n := range ready {
				if info.Avoids(n) {
					avoided++
				}
			}
			if c.Node != nil && avoided == 2 {
				c.Reason = c.Node.ID()
			}
			return c
		})},
		{name: "Reason counts", caught: "reason", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			texts := make([]string, 100)
			for i := range texts {
				texts[i] = fmt.Sprintf("%d ms", i)
			}
			ready := readyOf(nodes)
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				c := anyOf(ready).Pick(info)
				c.Reason = texts[rand.IntN(len(texts))]
				return c
			})
		})},
		{name: "NewPicker orders by weight", caught: "nodes", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			own := anyOf(readyOf(nodes))
			if nine(nodes) {
				slices.SortFunc(nodes, func(a, b *balancer.Node) int { return a.Weight() - b.Weight() })
			}
			return own
		})},
		{name: "NewPicker filters in place", caught: "nodes", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			if nine(nodes) {
				return anyOf(slices.DeleteFunc(nodes, func(n *balancer.Node) bool { return !n.Ready() }))
			}
			return anyOf(readyOf(nodes))
		})},
		{name: "NewPicker appends", caught: "nodes", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			if nine(nodes) {
				return anyOf(readyOf(append(nodes, nodes[0])))
			}
			return anyOf(readyOf(nodes))
		})},
		{name: "Pick moves nodes", caught: "nodes", policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			ready := readyOf(nodes)
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				if nine(nodes) {
					nodes[0], nodes[1] = nodes[1], nodes[0]
				}
				return anyOf(ready).Pick(info)
			})
		})},
		{name: "each Picker keeps the one before it", caught: "leavers", policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			return &linked{anyPicker: anyOf(readyOf(nodes)), prev: prev}
		})},
		{name: "Observe of a node that left panics", caught: "observe", policy: building(newKnowing)},
		{name: "the next one has the share of one that is not ready", caught: "even", promises: []policytest.Promise{even}, policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
			nodes = slices.Clone(nodes)
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				if len(nodes) == 0 {
					return balancer.Choice{}
				}
				at := rand.IntN(len(nodes))
				for i := range nodes {
					if n := nodes[(at+i)%len(nodes)]; n.Ready() && !info.Avoids(n) {
						return balancer.Choice{Node: n, Reason: "next"}
					}
				}
				return balancer.Choice{}
			})
		})},
		{name: "weights count although it is to be even", caught: "even", promises: []policytest.Promise{even}, policy: balancer.P2C},
		{name: "calls in flight count although it is to be even", caught: "even", promises: []policytest.Promise{even}, policy: balancer.LeastConn},
		{name: "a newcomer is flooded", caught: "even", promises: []policytest.Promise{even}, policy: picking(func(ready []*balancer.Node, info *balancer.Info) balancer.Choice {
			var best *balancer.Node
			for _, n := range ready {
				if !info.Avoids(n) && (best == nil || n.Picks() < best.Picks()) {
					best = n
				}
			}
			return balancer.Choice{Node: best, Reason: "fewest picks"}
		})},
		{name: "weights do not count", caught: "weighted", promises: []policytest.Promise{weighted}, policy: balancer.RoundRobin},
		{name: "a weight that changed is not seen", caught: "weighted", promises: []policytest.Promise{weighted}, policy: staleWeights},
		{name: "a key goes anywhere", caught: "consistent sticky", policy: func() balancer.Policy { return sound() },
			promises: []policytest.Promise{policytest.Sticky(1), policytest.Consistent()}},
		{name: "all keys move when a node leaves", caught: "sticky", promises: []policytest.Promise{policytest.Sticky(0.1)}, policy: picking(hashing(steady))},
		{name: "all keys move when a picker is made", caught: "consistent sticky", promises: []policytest.Promise{policytest.Sticky(0.1), policytest.Consistent()},
			policy: building(func(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
				ready, own := readyOf(nodes), maphash.MakeSeed()
				return pickFunc(func(info *balancer.Info) balancer.Choice {
					return hashing(func(key string) uint64 { return maphash.String(own, key) })(ready, info)
				})
			})},
		{name: "a newcomer takes all keys", caught: "sticky", promises: []policytest.Promise{policytest.Sticky(0), selective},
			policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
				return newestFirst(nodes, prev)
			})},
		{name: "two clients do not agree", caught: "consistent", promises: []policytest.Promise{policytest.Sticky(1), policytest.Consistent()}, policy: func() balancer.Policy {
			own := maphash.MakeSeed()
			return picking(hashing(func(key string) uint64 { return maphash.String(own, key) }))()
		}},
		{name: "what was before decides", caught: "consistent", promises: []policytest.Promise{policytest.Consistent()}, policy: building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
			ready, shift := readyOf(nodes), uint64(0)
			if prev != nil {
				shift = 1
			}
			return pickFunc(func(info *balancer.Info) balancer.Choice {
				return hashing(func(key string) uint64 { return steady(key) + shift })(ready, info)
			})
		})},
		{name: "the key of one's own is not looked at", caught: "sticky", promises: []policytest.Promise{policytest.Sticky(0), policytest.KeyedBy(withTenant)},
			policy: func() balancer.Policy { return balancer.IPHash() }},
	}
}

type tenantKey struct{}

func withTenant(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, tenantKey{}, key)
}

// staleWeights makes a new picker only when the ready nodes are others.
func staleWeights() balancer.Policy {
	return building(func(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
		ready := readyOf(nodes)
		if old, ok := prev.(*weightPicker); ok && slices.Equal(old.ready, ready) {
			return old
		}
		return &weightPicker{Picker: balancer.Random().NewPicker(nodes, nil), ready: ready}
	})()
}

type weightPicker struct {
	balancer.Picker
	ready []*balancer.Node
}

// newest sends every key to the node that came last, of those that are ready.
type newest struct {
	order []*balancer.Node
}

func newestFirst(nodes []*balancer.Node, prev balancer.Picker) balancer.Picker {
	p := &newest{}
	if old, ok := prev.(*newest); ok {
		p.order = slices.DeleteFunc(slices.Clone(old.order), func(n *balancer.Node) bool { return !slices.Contains(nodes, n) })
	}
	for _, n := range nodes {
		if !slices.Contains(p.order, n) {
			p.order = append([]*balancer.Node{n}, p.order...)
		}
	}
	return p
}

func (p *newest) Pick(info *balancer.Info) balancer.Choice {
	for _, n := range p.order {
		if n.Ready() && !info.Avoids(n) {
			return balancer.Choice{Node: n, Reason: "newest"}
		}
	}
	return balancer.Choice{}
}

// Every mistake is caught by the rule it breaks, and by no other.
func TestBroken(t *testing.T) {
	caught := map[string]bool{"allocations": true, "concurrent": true} // these have tests of their own
	for _, tt := range brokenPolicies(t) {
		t.Run(tt.name, func(t *testing.T) {
			broken := policytest.Broken(t, tt.policy, tt.promises...)
			delete(broken, "allocations") // these policies are made of closures
			got := strings.Join(slices.Sorted(maps.Keys(broken)), " ")
			if diff := cmp.Diff(tt.caught, got); diff != "" {
				t.Errorf("broken rules (-want +got):\n%s", diff)
			}
			for rule, err := range broken {
				caught[rule] = true
				t.Logf("%s: %v", rule, err)
			}
		})
	}
	for _, rule := range policytest.Rules() {
		if !caught[rule] {
			t.Errorf("the rule %q caught nothing", rule)
		}
	}
}
