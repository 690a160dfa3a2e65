package consul

import (
	"cmp"
	"context"
	"time"

	"github.com/hashicorp/consul/api"
)

const defaultTTL = 10 * time.Second

// TTLCheck makes the Registrar tell the agent that the endpoint is well, at
// least every third of TTL; where nothing is heard for TTL the agent calls the
// endpoint critical. The zero value is well for as long as the process lives
// and reaches the agent.
type TTLCheck struct {
	// Ready says whether the endpoint is well: an error makes it critical, with
	// the error's text, and nil passing again. It is asked at once on
	// registration, and then before each message to the agent, one call at a
	// time for each registration; those of several registrations may overlap.
	// Its context ends after a third of TTL and when the endpoint is
	// deregistered, but nobody waits for it then. While it does not return
	// nothing is told to the agent, so that TTL runs out; a panic counts as
	// an error. Nil means always ready.
	Ready func(context.Context) error

	// TTL is the longest silence that the agent takes for well, from 1 s to
	// 1 h. Zero means 10 s.
	TTL time.Duration
}

func (c TTLCheck) kind() string { return "ttl" }
func (c TTLCheck) validate() error {
	return validateDuration("TTLCheck.TTL", c.TTL, time.Second, maxInterval, defaultTTL)
}

func (c TTLCheck) define(string) *api.AgentServiceCheck {
	return &api.AgentServiceCheck{TTL: c.ttl().String()}
}

func (c TTLCheck) ttl() time.Duration { return cmp.Or(c.TTL, defaultTTL) }
