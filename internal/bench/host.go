package main

import (
	"fmt"
	"io"
)

// host runs contests, and tells its log what was seen so far.
type host struct {
	effort
	log io.Writer
}

// run runs a contest.
func (h *host) run(c *contest) ([]*result, error) {
	fmt.Fprintln(h.log, c.name)
	results, err := c.run(h.effort)
	for _, r := range results {
		fmt.Fprintf(h.log, "\t%v\n", r)
	}
	return results, err
}
