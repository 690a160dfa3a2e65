package main

import (
	"fmt"
	"io"
)

// host runs contests, and tells its log which.
type host struct {
	effort
	log io.Writer
}

// run runs a contest.
func (h *host) run(c *contest) ([]*result, error) {
	fmt.Fprintln(h.log, c.name)
	return c.run(h.effort)
}
