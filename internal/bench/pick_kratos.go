package main

import (
	"context"
	"strconv"

	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/p2c"
	"github.com/go-kratos/kratos/v2/selector/random"
	"github.com/go-kratos/kratos/v2/selector/wrr"
)

// Kratos' selectors.
var (
	kratosRandom = kratos("random", func() selector.Selector { return random.New() }, one)
	kratosWRR    = kratos("wrr", func() selector.Selector { return wrr.New() }, weight)
	kratosP2C    = kratos("p2c", func() selector.Selector { return p2c.New() }, one)
)

func kratosFleet(n int, weight func(int) int) []selector.Node {
	nodes := make([]selector.Node, n)
	for i := range nodes {
		nodes[i] = selector.NewNode("http", address(i), &registry.ServiceInstance{
			ID: address(i), Name: "users", Metadata: map[string]string{"weight": strconv.Itoa(weight(i))},
		})
	}
	return nodes
}

func kratos(name string, newSelector func() selector.Selector, weight func(int) int) chooser {
	return chooser{name: "kratos " + name, start: func(n int) (worker, error) {
		s := newSelector()
		s.Apply(kratosFleet(n, weight))
		ctx := context.Background()
		where := func() (string, error) {
			node, _, err := s.Select(ctx) // never done, so that it is counted
			if err != nil {
				return "", err
			}
			return node.Address(), nil
		}
		return worker{where: where, work: func(n int) error {
			for range n {
				_, done, err := s.Select(ctx)
				if err != nil {
					return err
				}
				done(ctx, selector.DoneInfo{})
			}
			return nil
		}}, nil
	}}
}
