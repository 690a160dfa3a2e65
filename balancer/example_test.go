package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func Example() {
	b := balancer.New(balancer.Config{}) // P2C
	defer b.Close()
	if err := b.Update(discovery.Addrs("10.0.0.1:80", "10.0.0.2:80")); err != nil {
		fmt.Println(err)
	}

	info := &balancer.Info{Retryable: true}
	for range 2 {
		lease, err := b.Pick(info)
		if err != nil {
			fmt.Println(err)
			return
		}
		// Call lease.Node().Addr() here. When the verdict is known:
		lease.Report(balancer.Outcome{Verdict: balancer.Failure})
		info.Avoid(lease.Node()) // try another
		lease.Release()          // when the answer was read to its end
	}
	fmt.Println("another left:", b.Others(info))
	// Output: another left: false
}

func ExampleWeightedRoundRobin() {
	b := balancer.New(balancer.Config{Policy: balancer.WeightedRoundRobin()})
	defer b.Close()
	_ = b.Update([]discovery.Endpoint{
		{ID: "large", Addr: "10.0.0.1:80", Weight: 5},
		{ID: "small", Addr: "10.0.0.2:80", Weight: 1},
	})

	picks := map[string]int{}
	for range 60 {
		lease, _ := b.Pick(&balancer.Info{})
		picks[lease.Node().ID()]++
		lease.Release()
	}
	fmt.Println(picks)
	// Output: map[large:50 small:10]
}

// An endpoint that failed is taken for slow, however fast it was at it.
func ExamplePeakEWMA() {
	b := balancer.New(balancer.Config{Policy: balancer.PeakEWMA()})
	defer b.Close()
	_ = b.Update(discovery.Addrs("10.0.0.1:80", "10.0.0.2:80"))

	lease, _ := b.Pick(&balancer.Info{})
	failed := lease.Node()
	lease.Report(balancer.Outcome{Verdict: balancer.Failure})
	lease.Release()

	for range 100 {
		lease, _ := b.Pick(&balancer.Info{})
		if lease.Node() == failed {
			fmt.Println("the one that failed")
		}
		lease.Report(balancer.Outcome{Verdict: balancer.Success})
		lease.Release()
	}
	fmt.Println("the other one")
	// Output: the other one
}

func ExampleIPHash() {
	b := balancer.New(balancer.Config{Policy: balancer.IPHash()})
	defer b.Close()
	_ = b.Update(discovery.Addrs("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"))

	user := balancer.WithClientIP(context.Background(), netip.MustParseAddr("203.0.113.9"))
	for range 3 {
		lease, _ := b.Pick(&balancer.Info{Context: user})
		fmt.Println(lease.Node().Addr())
		lease.Release()
	}
	// Output:
	// 10.0.0.3:80
	// 10.0.0.3:80
	// 10.0.0.3:80
}

// first is a policy of one's own: the first ready node in the order of the IDs.
type first struct{}

func (first) Name() string { return "first" }

func (first) NewPicker(nodes []*balancer.Node, _ balancer.Picker) balancer.Picker {
	return firstPicker(nodes)
}

type firstPicker []*balancer.Node

func (p firstPicker) Pick(info *balancer.Info) balancer.Choice {
	for _, n := range p {
		if n.Ready() && !info.Avoids(n) {
			return balancer.Choice{Node: n, Reason: "first"}
		}
	}
	return balancer.Choice{}
}

func ExamplePolicy() {
	b := balancer.New(balancer.Config{Policy: first{}})
	defer b.Close()
	_ = b.Update(discovery.Addrs("10.0.0.2:80", "10.0.0.1:80"))

	lease, _ := b.Pick(&balancer.Info{})
	defer lease.Release()
	fmt.Println(lease.Node().Addr())
	// Output: 10.0.0.1:80
}

// full is a gate that admits no more than so many calls at once to each node.
type full struct{ free chan struct{} }

var errFull = errors.New("full")

func (f full) Allow() (any, error) {
	select {
	case f.free <- struct{}{}:
		return nil, nil
	default:
		return nil, errFull
	}
}

func (f full) Done(any, balancer.Outcome) { <-f.free }

func ExampleGate() {
	b := balancer.New(balancer.Config{Join: func(*balancer.Node) (any, []balancer.Gate) {
		return nil, []balancer.Gate{full{make(chan struct{}, 1)}}
	}})
	defer b.Close()
	_ = b.Update(discovery.Addrs("10.0.0.1:80", "10.0.0.2:80"))

	for range 3 {
		lease, err := b.Pick(&balancer.Info{})
		fmt.Println(err, errors.Is(err, errFull))
		defer lease.Release()
	}
	// Output:
	// <nil> false
	// <nil> false
	// balancer: all endpoints rejected the call: full true
}
