package main

import (
	"context"
	"net/http"

	"github.com/bufbuild/httplb/conn"
	"github.com/bufbuild/httplb/picker"
	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/wrr"
	"google.golang.org/grpc/connectivity"
)

// peersUpdated take in a new set of endpoints.
func peersUpdated() []updater {
	return []updater{
		httplbUpdated,
		kratosUpdated,
		grpcUpdated("grpc-go round_robin", roundRobin),
		grpcUpdated("grpc-go weighted_round_robin", weightedRoundRobin),
		grpcUpdated("grpc-go least_request", leastRequest),
		grpcUpdated("grpc-go ring_hash", ringHash),
		grpcUpdated("go-zero p2c_ewma", p2cEWMA),
	}
}

// peersFlipped take in that one endpoint stops or begins to be ready.
func peersFlipped() []updater {
	return []updater{
		httplbFlipped,
		grpcFlipped("grpc-go round_robin", roundRobin),
		grpcFlipped("grpc-go weighted_round_robin", weightedRoundRobin),
		grpcFlipped("grpc-go least_request", leastRequest),
		grpcFlipped("go-zero p2c_ewma", p2cEWMA),
	}
}

// grpcUpdated is told of the endpoints by the resolver.
func grpcUpdated(name string, policy grpcPolicy) updater {
	return updater{name: name, most: policy.most, start: func(from, to []string) (*turner, error) {
		h, err := newGRPCHost(policy, from)
		if err != nil {
			return nil, err
		}
		old, fresh := resolved(from), resolved(to)
		turn := func(forth bool) error {
			if forth {
				return h.update(fresh)
			}
			return h.update(old)
		}
		return &turner{turn: turn, where: h.where, stop: h.close}, nil
	}}
}

// grpcFlipped is told that a server fails, and that it is well.
func grpcFlipped(name string, policy grpcPolicy) updater {
	return updater{name: name, most: policy.most, start: func(from, _ []string) (*turner, error) {
		h, err := newGRPCHost(policy, from)
		if err != nil {
			return nil, err
		}
		flipped := h.at(from[len(from)/2])
		turn := func(forth bool) error {
			if forth {
				flipped.turn(connectivity.TransientFailure)
			} else {
				flipped.turn(connectivity.Ready)
			}
			return nil
		}
		return &turner{turn: turn, where: h.where, stop: h.close}, nil
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
	return updater{name: "httplb round robin", start: func(from, to []string) (*turner, error) {
		old, fresh := fleets(from, to)
		var last picker.Picker
		turn := func(forth bool) error {
			var conns conn.Conns = old
			if forth {
				conns = fresh
			}
			last = picker.NewRoundRobin(last, conns)
			return nil
		}
		where := func() (string, error) {
			c, _, err := last.Pick(&http.Request{})
			if err != nil {
				return "", err
			}
			return c.Address().HostPort, nil
		}
		return &turner{turn: turn, where: where}, nil
	}}
}

// kratosUpdated makes nodes of the instances and applies them, as kratos' resolver does.
var kratosUpdated = updater{name: "kratos wrr", start: func(from, to []string) (*turner, error) {
	s := wrr.New()
	nodes := func(addrs []string) []selector.Node {
		nodes := make([]selector.Node, len(addrs))
		for i, addr := range addrs {
			nodes[i] = selector.NewNode("http", addr, &registry.ServiceInstance{ID: addr, Name: service})
		}
		return nodes
	}
	turn := func(forth bool) error {
		if forth {
			s.Apply(nodes(to))
		} else {
			s.Apply(nodes(from))
		}
		return nil
	}
	where := func() (string, error) {
		node, done, err := s.Select(context.Background())
		if err != nil {
			return "", err
		}
		done(context.Background(), selector.DoneInfo{})
		return node.Address(), nil
	}
	return &turner{turn: turn, where: where}, nil
}}
