package main

import "fmt"

func rpcContest(addrs []string, callers int) *contest {
	c := &contest{name: fmt.Sprintf("gRPC over loopback, %d at a time", callers), parallel: callers, slice: loopbackSlice}
	for _, client := range rpcClients() {
		c.entries = append(c.entries, client.entry(addrs))
	}
	return c
}

// grpcTables has all clients make unary calls to three servers.
func grpcTables(h *host) ([]*table, error) {
	fleet, err := startServers(grpcRole, 3)
	if err != nil {
		return nil, err
	}
	defer fleet.end()
	var tables []*table
	for _, callers := range []int{1, manyCallers} {
		results, err := h.run(rpcContest(fleet.addrs(), callers))
		if err != nil {
			return nil, err
		}
		t := &table{
			title: "A whole unary gRPC call over loopback" + atATime(callers),
			about: "A health check by three servers, each in a process of its own. CPU time is that of the client's process. p50 is the median time of a call. " +
				"weighted_round_robin has the servers report their load apart from the calls; ring_hash is given no key and hashes at random.",
		}
		t.fill(results, cpuColumn, ratioColumn, quartilesColumn, p50Column, slowerColumn, allocsColumn, bytesColumn)
		tables = append(tables, t)
	}
	return tables, nil
}
