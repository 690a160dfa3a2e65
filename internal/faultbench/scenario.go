package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

const (
	maxServers = 16
	maxCallers = 256
	maxRate    = 10_000
	maxLength  = 2 * time.Hour
	maxCalls   = 20_000_000
)

// Scenario is a fleet, what befalls it, the load meanwhile, and what must hold.
type Scenario struct {
	Name    string
	Servers int
	Proxied bool // toxiproxies stand between, else the caller dials the servers
	Steps   []Step
	Load    Load
	Mesh    Mesh
	Length  time.Duration // of the load
	LetIn   time.Duration // if set, the load goes on until the healed serve again, at most so long, and their share is measured
	Bounds  []Bound
}

// Step is something that happens at a time after the load began.
type Step struct {
	At time.Duration
	Do Action
	On []int // servers; none for what is Consul's
}

// Load is what is asked of the fleet.
type Load struct {
	Callers int
	Rate    int           // calls per second of all callers; each waits for its answer before it calls again
	Timeout time.Duration // of each call
	Posts   float64       // share of calls that may not be retried
	RPCs    float64       // share of unary gRPC calls, which may not be retried either
}

// Mesh is how the caller is set up.
type Mesh struct {
	Guard          string          // a key of guards
	Policy         balancer.Policy // nil: the default
	AttemptTimeout time.Duration
	H2C            bool
}

func (s *Scenario) validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("scenario %q: %s", s.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case s.Name == "":
		return errors.New("a scenario has no Name")
	case s.Servers < 1 || s.Servers > maxServers:
		return fail("Servers is %d, want 1 to %d", s.Servers, maxServers)
	case s.Length <= 0 || s.Length > maxLength:
		return fail("Length is %v, want more than 0 and at most %v", s.Length, maxLength)
	case s.LetIn < 0 || s.LetIn > time.Minute:
		return fail("LetIn is %v, want 0 to 1m", s.LetIn)
	case s.LetIn > 0 && len(s.sick()) == 0:
		return fail("LetIn is %v, but nothing heals", s.LetIn)
	case len(s.Bounds) == 0:
		return fail("Bounds is empty, want what must hold")
	case guards[s.Mesh.Guard] == nil:
		return fail("Mesh.Guard is %q, want a key of guards", s.Mesh.Guard)
	}
	if err := s.Load.validate(s.Length); err != nil {
		return fail("%v", err)
	}
	for i := range s.Steps {
		if err := s.validateStep(i); err != nil {
			return fail("%v", err)
		}
	}
	return nil
}

func (l *Load) validate(length time.Duration) error {
	switch {
	case l.Callers < 1 || l.Callers > maxCallers:
		return fmt.Errorf("load: Callers is %d, want 1 to %d", l.Callers, maxCallers)
	case l.Rate < 1 || l.Rate > maxRate:
		return fmt.Errorf("load: Rate is %d, want 1 to %d", l.Rate, maxRate)
	case float64(l.Rate)*length.Seconds() > maxCalls:
		return fmt.Errorf("load: Rate is %d for %v, want at most %d calls", l.Rate, length, maxCalls)
	case l.Timeout <= 0 || l.Timeout > time.Minute:
		return fmt.Errorf("load: Timeout is %v, want more than 0 and at most 1m", l.Timeout)
	case l.Posts < 0 || l.RPCs < 0 || l.Posts+l.RPCs > 1:
		return fmt.Errorf("load: Posts is %v and RPCs %v, want shares", l.Posts, l.RPCs)
	}
	return nil
}

func (s *Scenario) validateStep(i int) error {
	step := s.Steps[i]
	fail := func(format string, args ...any) error {
		return fmt.Errorf("step %d: %s", i, fmt.Sprintf(format, args...))
	}
	switch {
	case step.Do.kind == nothing:
		return fail("does nothing")
	case step.At < 0 || step.At >= s.Length:
		return fail("At is %v, want 0 to less than Length, %v", step.At, s.Length)
	case i > 0 && step.At < s.Steps[i-1].At:
		return fail("At is %v, want the steps in order", step.At)
	case step.Do.needsProxy() && !s.Proxied:
		return fail("%s is the network's, want Proxied", step.Do.Name)
	case step.Do.kind == roll && s.Proxied:
		return fail("a successor has an address of its own, want no Proxied")
	case step.Do.ofConsul() != (len(step.On) == 0):
		return fail("On is %v, want servers, and none for Consul", step.On)
	}
	for _, slot := range step.On {
		if slot < 0 || slot >= s.Servers {
			return fail("On has %d, want 0 to %d", slot, s.Servers-1)
		}
	}
	return nil
}

// fault returns from when to when something is wrong, as the steps say: to the
// end if nothing heals.
func (s *Scenario) fault() (from, to time.Duration) {
	from, to = s.Length, s.Length
	for i, step := range s.Steps {
		if i == 0 {
			from = step.At
		}
		if step.Do.kind == heal {
			to = step.At
		}
	}
	return from, to
}

// sick returns the servers that heal.
func (s *Scenario) sick() map[int]bool {
	slots := make(map[int]bool)
	for _, step := range s.Steps {
		for _, slot := range step.On {
			if step.Do.kind == heal {
				slots[slot] = true
			}
		}
	}
	return slots
}
