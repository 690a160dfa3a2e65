package main

import (
	"github.com/bufbuild/httplb/conn"
	"github.com/bufbuild/httplb/picker"
	"github.com/bufbuild/httplb/resolver"
	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/wrr"
	"google.golang.org/grpc/connectivity"
)

// grpcUpdated is told of the endpoints by the resolver.
func grpcUpdated(name string, policy grpcPolicy) updater {
	return updater{name: name, most: policy.most, start: func(from, to []string) (func(bool) error, func(), error) {
		h, err := newGRPCHost(policy, from)
		if err != nil {
			return nil, nil, err
		}
		old, fresh := resolved(from), resolved(to)
		return func(forth bool) error {
			if forth {
				return h.update(fresh)
			}
			return h.update(old)
		}, h.close, nil
	}}
}

// grpcFlipped is told that a server fails, and that it is well.
func grpcFlipped(name string, policy grpcPolicy) updater {
	return updater{name: name, most: policy.most, start: func(from, _ []string) (func(bool) error, func(), error) {
		h, err := newGRPCHost(policy, from)
		if err != nil {
			return nil, nil, err
		}
		flipped := h.at(from[len(from)/2])
		return func(forth bool) error {
			if forth {
				flipped.turn(connectivity.TransientFailure)
			} else {
				flipped.turn(connectivity.Ready)
			}
			return nil
		}, h.close, nil
	}}
}

var (
	httplbUpdated = httplbUpdater(func(from, to []string) (old, fresh httplbConns) {
		old, fresh = httplbFleetOf(from), httplbFleetOf(to)
		for i := range old {
			if from[i] == to[i] {
				fresh[i] = old[i]
			}
		}
		return old, fresh
	})

	httplbFlipped = httplbUpdater(func(from, _ []string) (old, fresh httplbConns) {
		old = httplbFleetOf(from)
		half := len(old) / 2
		return old, append(append(httplbConns{}, old[:half]...), old[half+1:]...)
	})
)

// httplbUpdater makes a new picker from the last.
func httplbUpdater(fleets func(from, to []string) (old, fresh httplbConns)) updater {
	return updater{name: "httplb round robin", start: func(from, to []string) (func(bool) error, func(), error) {
		old, fresh := fleets(from, to)
		var last picker.Picker
		return func(forth bool) error {
			var conns conn.Conns = old
			if forth {
				conns = fresh
			}
			last = picker.NewRoundRobin(last, conns)
			return nil
		}, nil, nil
	}}
}

func httplbFleetOf(addrs []string) httplbConns {
	conns := make(httplbConns, len(addrs))
	for i, addr := range addrs {
		conns[i] = &httplbConn{address: resolver.Address{HostPort: addr}}
	}
	return conns
}

// kratosUpdated makes nodes of the instances and applies them, as kratos' resolver does.
var kratosUpdated = updater{name: "kratos wrr", start: func(from, to []string) (func(bool) error, func(), error) {
	s := wrr.New()
	nodes := func(addrs []string) []selector.Node {
		nodes := make([]selector.Node, len(addrs))
		for i, addr := range addrs {
			nodes[i] = selector.NewNode("http", addr, &registry.ServiceInstance{ID: addr, Name: service})
		}
		return nodes
	}
	return func(forth bool) error {
		if forth {
			s.Apply(nodes(to))
		} else {
			s.Apply(nodes(from))
		}
		return nil
	}, nil, nil
}}
