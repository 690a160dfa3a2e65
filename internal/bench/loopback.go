package main

import (
	"fmt"
	"time"
)

const (
	manyCallers   = 64
	loopbackSlice = 40 * time.Millisecond
)

// loopbackClients are those of interest where there are sockets.
func loopbackClients() []client {
	return []client{bareInTurn, bare, fairleadDefault, fairleadRoundRobin, httplbClient, recordedInTurn, fairleadRecording}
}

// onLoopback is a site of servers in processes of their own.
func onLoopback(s servers) *site { return &site{addrs: s.addrs(), body: answer} }

// loopbackContest has clients make calls over real sockets.
func loopbackContest(s *site, callers int) *contest {
	c := httpContest(fmt.Sprintf("HTTP over loopback, %d at a time", callers), s, loopbackClients())
	c.parallel, c.slice = callers, loopbackSlice
	if nginxInstalled() {
		c.entries = append(c.entries, nginxHop(s))
	}
	return c
}

func loopbackTables(h *host) ([]*table, error) {
	fleet, err := startServers(httpRole, 3)
	if err != nil {
		return nil, err
	}
	defer fleet.end()
	var tables []*table
	for _, callers := range []int{1, manyCallers} {
		results, err := h.run(loopbackContest(onLoopback(fleet), callers))
		if err != nil {
			return nil, err
		}
		t := &table{
			title: "A whole HTTP call over loopback" + atATime(callers),
			about: "A GET of 1 KiB from three servers of net/http, each in a process of its own; net/http alone calls one of them, also through nginx. " +
				"CPU time is that of the client's process, and of nginx's where it is the hop. " +
				"p50 is the median time of a call.",
		}
		if !nginxInstalled() {
			t.about += " There was no nginx on this machine."
		}
		t.fill(results, cpuColumn, ratioColumn, quartilesColumn, p50Column, slowerColumn, allocsColumn, bytesColumn)
		tables = append(tables, t)
	}
	return tables, nil
}

// atATime says how many callers there are, if there are many.
func atATime(callers int) string {
	if callers == 1 {
		return ""
	}
	return fmt.Sprintf(", %d at a time", callers)
}
