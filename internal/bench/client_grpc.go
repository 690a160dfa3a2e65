package main

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver/manual"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
)

// rpcClient is a way to make unary gRPC calls.
type rpcClient struct {
	name string
	dial func(addrs []string) (conn *grpc.ClientConn, end func(), err error)
}

// rpcClients are all that make gRPC calls.
func rpcClients() []rpcClient {
	return []rpcClient{
		balanced("grpc-go round_robin", roundRobin),
		meshed("fairlead", false),
		meshed("fairlead RoundRobin", false, fairlead.WithBalancer(balancer.RoundRobin())),
		balanced("grpc-go weighted_round_robin", grpcPolicy{name: "weighted_round_robin", config: `{"enableOobLoadReport":true,"blackoutPeriod":"0s"}`}),
		balanced("grpc-go least_request", leastRequest),
		balanced("grpc-go ring_hash", ringHash),
		balanced("go-zero p2c_ewma", p2cEWMA),
		recordedGRPC,
		meshed("fairlead, recording", true),
	}
}

// balanced is gRPC with one of the balancers that are registered with it.
func balanced(name string, policy grpcPolicy, opts ...grpc.DialOption) rpcClient {
	return rpcClient{name, func(addrs []string) (*grpc.ClientConn, func(), error) {
		known := manual.NewBuilderWithScheme("known")
		known.InitialState(resolved(addrs))
		config := fmt.Sprintf(`{"loadBalancingConfig":[{%q:%s}]}`, policy.name, policy.json())
		conn, err := grpc.NewClient("known:///"+service, append(opts, plain, grpc.WithResolvers(known), grpc.WithDefaultServiceConfig(config))...)
		if err != nil {
			return nil, nil, err
		}
		return conn, func() { _ = conn.Close() }, nil
	}}
}

var plain = grpc.WithTransportCredentials(insecure.NewCredentials())

func (p *grpcPolicy) json() string {
	if p.config == "" {
		return "{}"
	}
	return p.config
}

// recordedGRPC is gRPC's round robin that records what it does.
var recordedGRPC = rpcClient{"grpc-go round_robin, otelgrpc", func(addrs []string) (*grpc.ClientConn, func(), error) {
	t := newTelemetry()
	handler := otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(t.tracers), otelgrpc.WithMeterProvider(t.meters), otelgrpc.WithPropagators(t.propagator))
	return balanced("", roundRobin, grpc.WithStatsHandler(handler)).dial(addrs)
}}

// meshed is gRPC over a Mesh.
func meshed(name string, recording bool, opts ...fairlead.Option) rpcClient {
	return rpcClient{name, func(addrs []string) (*grpc.ClientConn, func(), error) {
		m, err := newMesh(&site{addrs: addrs}, recording, opts...)
		if err != nil {
			return nil, nil, err
		}
		conn, err := grpc.NewClient("fairlead:///"+service, append(grpcbalancer.DialOptions(m), plain)...)
		if err != nil {
			_ = m.Close()
			return nil, nil, err
		}
		return conn, func() { _ = conn.Close(); _ = m.Close() }, nil
	}}
}

// entry has the client call until it has met all servers.
func (c *rpcClient) entry(addrs []string) entry {
	return entry{c.name, func() (worker, error) {
		conn, end, err := c.dial(addrs)
		if err != nil {
			return worker{}, err
		}
		if err := meetAll(conn, len(addrs)); err != nil {
			end()
			return worker{}, err
		}
		stub := healthpb.NewHealthClient(conn)
		return caller(func() error { return check(context.Background(), stub) }, end), nil
	}}
}

// check makes a whole call, whose answer must be the server's.
func check(ctx context.Context, stub healthpb.HealthClient, opts ...grpc.CallOption) error {
	answer, err := stub.Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	if err != nil {
		return err
	}
	if answer.Status != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the server's answer is %v", answer.Status)
	}
	return nil
}

// meetAll calls until each of n servers has answered.
func meetAll(conn *grpc.ClientConn, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stub, met := healthpb.NewHealthClient(conn), make(map[string]bool)
	for ; len(met) < n; time.Sleep(time.Millisecond) {
		var p peer.Peer
		if err := check(ctx, stub, grpc.WaitForReady(true), grpc.Peer(&p)); err != nil {
			return fmt.Errorf("%d of %d servers have answered: %w", len(met), n, err)
		}
		met[p.Addr.String()] = true
	}
	return nil
}
