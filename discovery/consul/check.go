package consul

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
)

// Check is how Consul learns whether an endpoint is well: an [HTTPCheck], a
// [TCPCheck], a [GRPCCheck] or a [TTLCheck].
type Check interface {
	// validate returns every mistake in the check, or nil.
	validate() error

	// kind is part of the check's ID, so that another kind is another check.
	kind() string

	// define is Consul's form of the check for an endpoint at addr.
	define(addr string) *api.AgentServiceCheck
}

const (
	defaultInterval = 5 * time.Second
	defaultProbe    = time.Second
	maxInterval     = time.Hour
	maxThreshold    = 100
)

// polling is what the checks that the agent makes have in common.
type polling struct {
	kind              string
	addr              string
	interval, timeout time.Duration
	success, failures int
}

func (p polling) validate() error {
	return errors.Join(
		p.validateAddr(),
		validateDuration(p.kind+".Interval", p.interval, time.Second, maxInterval, defaultInterval),
		validateDuration(p.kind+".Timeout", p.timeout, 10*time.Millisecond, time.Minute, defaultProbe),
		p.validateThreshold("SuccessBeforePassing", p.success),
		p.validateThreshold("FailuresBeforeCritical", p.failures),
	)
}

func (p polling) validateAddr() error {
	if p.addr == "" {
		return nil
	}
	if (discovery.Endpoint{Addr: p.addr}).Validate() != nil {
		return fmt.Errorf("consul: %s.Addr is %q, want host:port with an IPv6 host in brackets, or nothing meaning the endpoint's", p.kind, p.addr)
	}
	return nil
}

func (p polling) validateThreshold(field string, n int) error {
	if n < 0 || n > maxThreshold {
		return fmt.Errorf("consul: %s.%s is %d, want 1 to %d, or 0 meaning 1", p.kind, field, n, maxThreshold)
	}
	return nil
}

// define begins Consul's form of the check.
func (p polling) define() *api.AgentServiceCheck {
	return &api.AgentServiceCheck{
		Interval:               cmp.Or(p.interval, defaultInterval).String(),
		Timeout:                cmp.Or(p.timeout, defaultProbe).String(),
		SuccessBeforePassing:   p.success,
		FailuresBeforeCritical: p.failures,
	}
}

// target is the address that the check asks.
func (p polling) target(endpoint string) string { return cmp.Or(p.addr, endpoint) }

// validateChecks returns every mistake in the checks of a Registrar, or nil.
func validateChecks(checks []Check) error {
	var errs []error
	ttls := 0
	for i, check := range checks {
		switch check.(type) {
		case HTTPCheck, TCPCheck, GRPCCheck:
		case TTLCheck:
			ttls++
		default:
			errs = append(errs, fmt.Errorf("consul: check %d is a %T, want an HTTPCheck, TCPCheck, GRPCCheck or TTLCheck, and no pointer to one", i+1, check))
			continue
		}
		errs = append(errs, check.validate())
	}
	if ttls > 1 {
		errs = append(errs, fmt.Errorf("consul: %d checks are a TTLCheck, want at most one: let its Ready ask all there is to ask", ttls))
	}
	return errors.Join(errs...)
}
