package consul

import (
	"time"

	"github.com/hashicorp/consul/api"
)

// TCPCheck makes the agent open a TCP connection to the endpoint: if that works
// it is passing, else critical. The zero value dials the endpoint's address.
type TCPCheck struct {
	// Addr that the agent dials, as host:port. Empty means the endpoint's.
	Addr string

	// Interval between two connections, from 1 s to 1 h. Zero means 5 s.
	Interval time.Duration

	// Timeout of one connection, from 10 ms to 1 min. Zero means 1 s.
	Timeout time.Duration

	// SuccessBeforePassing and FailuresBeforeCritical are how many results in a
	// row it takes to change the check's status, at most 100. Zero means 1.
	SuccessBeforePassing   int
	FailuresBeforeCritical int
}

func (c TCPCheck) polling() polling {
	return polling{"TCPCheck", c.Addr, c.Interval, c.Timeout, c.SuccessBeforePassing, c.FailuresBeforeCritical}
}

func (c TCPCheck) kind() string    { return "tcp" }
func (c TCPCheck) validate() error { return c.polling().validate() }

func (c TCPCheck) define(addr string) *api.AgentServiceCheck {
	check := c.polling().define()
	check.TCP = c.polling().target(addr)
	return check
}
