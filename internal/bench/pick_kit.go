package main

import (
	"context"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/lb"
)

// go-kit's balancers, which count nothing.
var (
	kitRoundRobin = kit("round robin", lb.NewRoundRobin)
	kitRandom     = serial(kit("random", func(e sd.Endpointer) lb.Balancer { return lb.NewRandom(e, 1) }))
)

// serial is a chooser that is not safe for concurrent use.
func serial(c chooser) chooser {
	c.unsafe = true
	return c
}

func kitFleet(n int) sd.FixedEndpointer {
	fleet := make(sd.FixedEndpointer, n)
	for i, addr := range addresses(n) {
		fleet[i] = func(context.Context, any) (any, error) { return addr, nil }
	}
	return fleet
}

func kit(name string, newBalancer func(sd.Endpointer) lb.Balancer) chooser {
	return chooser{name: "go-kit " + name, start: func(n int) (worker, error) {
		b := newBalancer(kitFleet(n))
		where := func() (string, error) {
			e, err := b.Endpoint()
			if err != nil {
				return "", err
			}
			addr, err := e(context.Background(), nil)
			return addr.(string), err
		}
		return worker{where: where, work: func(n int) error {
			var chosen endpoint.Endpoint
			for range n {
				e, err := b.Endpoint()
				if err != nil {
					return err
				}
				chosen = e
			}
			_, err := chosen(context.Background(), nil)
			return err
		}}, nil
	}}
}
