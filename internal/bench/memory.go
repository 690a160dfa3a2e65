package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bufbuild/httplb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
)

// weighed is what is weighed of a library. Nil is what there is none of.
type weighed struct {
	name                                string
	unused, memory, sockets, perService hold
}

// memoryTables weighs many endpoints, and many services of one endpoint.
func memoryTables(h *host) ([]*table, error) {
	const n = 1000
	t := &table{
		title: "Memory",
		about: "Bytes in use for each of " + group(n) + " endpoints, in the process of the client. fairlead picks in turn, so that it calls each of them. Never used: the service was called once. Used: each endpoint was called, and nothing is in flight; " +
			"in memory its transport is one that takes nothing, over a socket it is an http.Transport with a connection, or gRPC's connection, and the stacks are those of its goroutines. " +
			"A service: one of " + group(n) + " that have an endpoint each, called once, in memory; for gRPC a ClientConn each, over sockets. gRPC connects to all endpoints at once; net/http knows neither services nor endpoints that were not called.",
		head: []string{"", "endpoint never used", "used, in memory", "used, over a socket", "and stacks", "service"},
	}
	fmt.Fprintln(h.log, "Memory")
	web, err := startChild(httpRole, n)
	if err != nil {
		return nil, err
	}
	defer web.end()
	rpc, err := startChild(grpcRole, n)
	if err != nil {
		return nil, err
	}
	defer rpc.end()
	for _, w := range weighedAll(web.addrs, rpc.addrs) {
		row, err := w.row(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		t.rows = append(t.rows, row)
	}
	return []*table{t}, nil
}

func (w *weighed) row(n int) ([]string, error) {
	row := []string{w.name}
	for _, make := range []hold{w.unused, w.memory, w.sockets, w.perService} {
		heap, stacks := absent, absent
		if make != nil {
			m, err := weigh(n, make)
			if err != nil {
				return nil, err
			}
			heap, stacks = size(m.heap), size(m.stacks)
		}
		if row = append(row, heap); len(row) == 4 {
			row = append(row, stacks)
		}
	}
	return row, nil
}

// weighedAll is all that is weighed, with endpoints at these addresses.
func weighedAll(web, rpc []string) []weighed {
	sockets, memory := &site{addrs: web, body: answer}, inMemory()
	memory.addrs = web
	return []weighed{
		{
			"fairlead", called(fairleadRoundRobin, sockets, 1), called(fairleadRoundRobin, memory, 2*len(web)),
			allConnected(fairleadRoundRobin, sockets), fairleadServices(memory),
		},
		{
			"httplb", called(httplbClient, sockets, 1), called(httplbClient, memory, 2*len(web)),
			allConnected(httplbClient, sockets), httplbServices(memory),
		},
		{"net/http, one Transport", nil, nil, allConnected(bareInTurn, sockets), nil},
		{"net/http, a Transport for each", nil, nil, transportForEach(sockets), nil},
		{"grpc-go round_robin", nil, nil, rpcConnected(balanced("", roundRobin), rpc), connEach(balanced("", roundRobin), rpc)},
		{"fairlead under gRPC", nil, nil, rpcConnected(meshed("", false), rpc), connEach(meshed("", false), rpc)},
	}
}

// called makes so many calls.
func called(c client, s *site, times int) hold {
	return func() (func(), error) {
		session, err := c.open(s)
		if err != nil {
			return nil, err
		}
		for range times {
			if err := session.call(); err != nil {
				session.close()
				return nil, err
			}
		}
		return session.close, nil
	}
}

// allConnected calls until there is a connection to each endpoint.
func allConnected(c client, s *site) hold {
	return connecting(len(s.addrs), func() (func() error, func(), error) {
		session, err := c.open(s)
		return session.call, session.close, err
	})
}

// transportForEach has a Transport for each endpoint.
func transportForEach(s *site) hold {
	return connecting(len(s.addrs), func() (func() error, func(), error) {
		clients := make([]*http.Client, len(s.addrs))
		for i := range clients {
			clients[i] = &http.Client{Transport: &http.Transport{}}
		}
		end := func() {
			for _, c := range clients {
				c.CloseIdleConnections()
			}
		}
		turn := 0
		call := func() error {
			i := turn % len(clients)
			turn++
			return s.get(clients[i].Do, url(s.addrs[i]))
		}
		return call, end, nil
	})
}

// rpcConnected has one ClientConn for all endpoints.
func rpcConnected(c rpcClient, addrs []string) hold {
	return connecting(len(addrs), func() (func() error, func(), error) {
		conn, end, err := c.dial(addrs)
		if err != nil {
			return nil, nil, err
		}
		stub := healthpb.NewHealthClient(conn)
		call := func() error { return check(context.Background(), stub, grpc.WaitForReady(true)) }
		return call, end, nil
	})
}

// connEach has a ClientConn for each endpoint.
func connEach(c rpcClient, addrs []string) hold {
	return func() (func(), error) {
		var ends []func()
		end := func() {
			for _, f := range ends {
				f()
			}
		}
		for _, addr := range addrs {
			w, err := c.entry([]string{addr}).start()
			if err != nil {
				end()
				return nil, err
			}
			ends = append(ends, w.stop)
		}
		return end, nil
	}
}

func serviceName(i int) string { return fmt.Sprintf("%s-%d", service, i) }

// fairleadServices calls a service for each address, of one Mesh.
func fairleadServices(s *site) hold {
	return func() (func(), error) {
		known := discovery.Services{}
		for i, addr := range s.addrs {
			known[serviceName(i)] = discovery.Addrs(addr)
		}
		m, err := fairlead.New(known, fairlead.WithEndpointTransport(func(_ string, e discovery.Endpoint) (http.RoundTripper, error) {
			return s.memory(e.Addr), nil
		}))
		if err != nil {
			return nil, err
		}
		end := func() { _ = m.Close() }
		return end, s.callServices(m.Client().Do, end)
	}
}

// httplbServices calls a host for each address, of one client.
func httplbServices(s *site) hold {
	return func() (func(), error) {
		known := make(map[string][]string)
		for i, addr := range s.addrs {
			known[serviceName(i)] = []string{addr}
		}
		c := httplb.NewClient(
			httplb.WithResolver(httplbResolver(func(host string) []string { return known[host] })),
			httplb.WithTransport("http", httplbTransport{s}),
		)
		end := func() { _ = c.Close() }
		return end, s.callServices(c.Do, end)
	}
}

// callServices calls each service, and ends all where one fails.
func (s *site) callServices(do func(*http.Request) (*http.Response, error), end func()) error {
	for i := range s.addrs {
		if err := s.get(do, url(serviceName(i))); err != nil {
			end()
			return err
		}
	}
	return nil
}
