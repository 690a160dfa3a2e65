package main

import "time"

// httpClients are all that make HTTP calls.
func httpClients() []client {
	return []client{
		bare, fairleadDefault, fairleadRoundRobin, fairleadPeakEWMA, httplbClient, kitClient, kratosClient,
		failsafeGo, retryable, heimdallClient, goBreaker, recordedBare, fairleadRecording,
	}
}

// httpContest has clients make calls to the site.
func httpContest(name string, s *site, clients []client) *contest {
	c := &contest{name: name}
	for _, client := range clients {
		c.entries = append(c.entries, client.entry(s))
	}
	return c
}

// httpTables has all clients make calls that cost nothing but what a client adds.
func httpTables(h *host) ([]*table, error) {
	c := httpContest("HTTP in memory", inMemory(), httpClients())
	c.slice = 20 * time.Millisecond
	results, err := h.run(c)
	if err != nil {
		return nil, err
	}
	t := &table{
		title: "A whole HTTP call in memory",
		about: "A GET from the request's making to the end of its body, over a transport that answers at once. " +
			"go-kit, httplb, kratos and fairlead balance over three endpoints; the others know one. " +
			"kratos does without its timeout; go-kit retries once, within a timeout that it cannot do without, and heimdall once. The last two record with an OpenTelemetry SDK: otelhttp a span per call, fairlead one per call and one per attempt, both metrics.",
	}
	t.fill(results, cpuColumn, ratioColumn, quartilesColumn, adds(results[0]), allocsColumn, bytesColumn)
	return []*table{t}, nil
}

// adds is what an entry takes on top of the first.
func adds(first *result) column {
	return column{"adds", func(r *result) string {
		more := median(r.cpu) - median(first.cpu)
		if more < 0 {
			return "-" + duration(-more)
		}
		return "+" + duration(more)
	}}
}
