package main

import (
	"context"
	"time"

	orca "github.com/cncf/xds/go/xds/data/orca/v3"
	"github.com/zeromicro/go-zero/zrpc"
	lb "google.golang.org/grpc/balancer"
	_ "google.golang.org/grpc/balancer/leastrequest"
	_ "google.golang.org/grpc/balancer/ringhash"
	_ "google.golang.org/grpc/balancer/roundrobin"
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/metadata"
)

// The pickers of gRPC's balancers, and of go-zero's, which are such.
var (
	grpcRoundRobin         = grpcChooser("grpc-go round_robin", roundRobin, nil)
	grpcWeightedRoundRobin = grpcChooser("grpc-go weighted_round_robin", weightedRoundRobin, reportLoad)
	grpcLeastRequest       = grpcChooser("grpc-go least_request", leastRequest, nil)
	grpcRingHash           = grpcChooser("grpc-go ring_hash", ringHash, nil)
	zeroP2C                = grpcChooser("go-zero p2c_ewma", p2cEWMA, nil)
	zeroConsistentHash     = grpcChooser("go-zero consistent_hash", consistentHash, nil)
)

// grpcPolicy is a balancer that is registered with gRPC.
type grpcPolicy struct {
	name   string
	config string // in JSON; empty where it takes none
	atOnce bool   // it bears connections that come up while it is updated
	most   int    // endpoints at which it is started; 0 is any number
}

var (
	roundRobin         = grpcPolicy{name: "round_robin", config: "{}", atOnce: true}
	weightedRoundRobin = grpcPolicy{name: "weighted_round_robin", config: `{"blackoutPeriod":"0s","weightUpdatePeriod":"0.1s"}`, atOnce: true}
	leastRequest       = grpcPolicy{name: "least_request_experimental", config: `{"choiceCount":2}`, atOnce: true}
	ringHash           = grpcPolicy{name: "ring_hash_experimental", config: `{"requestHashHeader":"user"}`, atOnce: true}
	p2cEWMA            = grpcPolicy{name: "p2c_ewma", most: 1000}
	consistentHash     = grpcPolicy{name: "consistent_hash", most: 100}
)

func grpcChooser(name string, policy grpcPolicy, warm func(*grpcHost) error) chooser {
	return chooser{name: name, most: policy.most, start: func(n int) (worker, error) {
		host, err := newGRPCHost(policy, addresses(n))
		if err != nil {
			return worker{}, err
		}
		if warm != nil {
			if err := warm(host); err != nil {
				host.close()
				return worker{}, err
			}
		}
		return worker{work: host.picks, where: host.where, stop: host.close}, nil
	}}
}

// picks picks n times from the present picker, and tells it that all went well.
func (h *grpcHost) picks(n int) error {
	return h.pickAnd(n, func(lb.SubConn) lb.DoneInfo { return lb.DoneInfo{BytesSent: true, BytesReceived: true} })
}

func (h *grpcHost) pickAnd(n int, done func(lb.SubConn) lb.DoneInfo) error {
	p, info := h.current().Picker, pickInfo()
	for range n {
		result, err := p.Pick(info)
		if err != nil {
			return err
		}
		if result.Done != nil {
			result.Done(done(result.SubConn))
		}
	}
	return nil
}

// pickInfo is a call with the key that hashing balancers want.
func pickInfo() lb.PickInfo {
	const key = "203.0.113.9"
	ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("user", key))
	return lb.PickInfo{FullMethodName: "/users/Get", Ctx: zrpc.SetHashKey(ctx, key)}
}

// where picks once, of a call that does not end.
func (h *grpcHost) where() (string, error) {
	result, err := h.current().Picker.Pick(pickInfo())
	if err != nil {
		return "", err
	}
	return result.SubConn.(*grpcSub).addr, nil
}

// reportLoad has each endpoint report what weighs it as ours are weighed, until the
// balancer has taken that in.
func reportLoad(h *grpcHost) error {
	numbers := make(map[string]int)
	for i, addr := range addresses(h.connections()) {
		numbers[addr] = i
	}
	report := func(s lb.SubConn) lb.DoneInfo {
		return lb.DoneInfo{ServerLoad: &orca.OrcaLoadReport{RpsFractional: float64(100 * weight(numbers[s.(*grpcSub).addr])), ApplicationUtilization: 0.5}}
	}
	for range 2 {
		if err := h.pickAnd(20*len(numbers), report); err != nil {
			return err
		}
		time.Sleep(250 * time.Millisecond) // it looks every 100 ms
	}
	return nil
}
