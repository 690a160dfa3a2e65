package health

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Protocol is how an endpoint is checked.
type Protocol string

// The protocols.
const (
	// TCP is well when a connection comes about, and with TLS the handshake too.
	TCP Protocol = "tcp"

	// HTTP is well when a GET is answered with the expected status, over HTTP/1.1.
	HTTP Protocol = "http"

	// GRPC is well when grpc.health.v1.Health/Check answers SERVING. A server
	// without that service is well too: it has answered.
	GRPC Protocol = "grpc"
)

// Check says how the endpoints of a service are checked. The zero value is a TCP
// check with the defaults. Negative values are errors.
type Check struct {
	// Protocol is how. Empty means TCP.
	Protocol Protocol

	// Path is what HTTP asks for, with its query if it has one. Empty means "/".
	Path string

	// Status is the one that HTTP expects. 0 means any from 200 to 299.
	Status int

	// Service is whose health GRPC asks for. Empty means the server's as a whole.
	Service string

	// Port is where checks go, in the place of the port that calls go to. 0 means
	// that port. Checks of another port are encrypted only where TLS says so.
	Port int

	// TLS encrypts checks from the first on. False means that they are encrypted
	// where it is known that calls are: in a Mesh, since a URL with https was answered.
	TLS bool

	// Interval is the time from one check of an endpoint to the next, varied by up
	// to 20 %, and a fifth of it after a check that speaks against the verdict so
	// far. 0 means 5 s, or Timeout if that is longer; at least 100 ms.
	Interval time.Duration

	// Timeout bounds a check, from dialling to its verdict. 0 means 1 s, or
	// Interval if that is shorter; at most Interval.
	Timeout time.Duration

	// Unhealthy is how many checks in a row must fail for an endpoint to be
	// advised against. 0 means 3.
	Unhealthy int

	// Healthy is how many checks in a row must pass for that to end. 0 means 2. An
	// endpoint that never passed one before needs but one.
	Healthy int
}

const (
	defaultInterval  = 5 * time.Second
	defaultTimeout   = time.Second
	defaultUnhealthy = 3
	defaultHealthy   = 2

	minInterval = 100 * time.Millisecond
)

// WithDefaults returns the configuration with every zero field replaced by its
// default, or an error that names the field, its value and what is allowed. Status,
// Service and Port stay as they are, and so does Path unless Protocol is HTTP.
func (c Check) WithDefaults() (Check, error) {
	if err := c.validate(); err != nil {
		return Check{}, err
	}
	if c.Protocol == "" {
		c.Protocol = TCP
	}
	if c.Protocol == HTTP && c.Path == "" {
		c.Path = "/"
	}
	if c.Interval == 0 {
		c.Interval = max(defaultInterval, c.Timeout)
	}
	if c.Timeout == 0 {
		c.Timeout = min(defaultTimeout, c.Interval)
	}
	if c.Unhealthy == 0 {
		c.Unhealthy = defaultUnhealthy
	}
	if c.Healthy == 0 {
		c.Healthy = defaultHealthy
	}
	return c, nil
}

func (c Check) validate() error {
	switch {
	case c.Protocol != "" && c.Protocol != TCP && c.Protocol != HTTP && c.Protocol != GRPC:
		return fmt.Errorf("health: Check.Protocol is %q, want %q, %q or %q, or empty (meaning %q)", c.Protocol, TCP, HTTP, GRPC, TCP)
	case c.Path != "" && c.Protocol != HTTP:
		return fmt.Errorf("health: Check.Path is %q, want none but with Protocol %q", c.Path, HTTP)
	case c.Path != "" && (c.Path[0] != '/' || strings.ContainsFunc(c.Path, unfit)):
		return fmt.Errorf("health: Check.Path is %q, want one that begins with / and holds printable ASCII without spaces, or empty (meaning /)", c.Path)
	case c.Status != 0 && (c.Protocol != HTTP || c.Status < 100 || c.Status > 599):
		return fmt.Errorf("health: Check.Status is %d, want 100 to 599 with Protocol %q, or 0 (meaning 200 to 299)", c.Status, HTTP)
	case c.Service != "" && c.Protocol != GRPC:
		return fmt.Errorf("health: Check.Service is %q, want none but with Protocol %q", c.Service, GRPC)
	case c.Port < 0 || c.Port > math.MaxUint16:
		return fmt.Errorf("health: Check.Port is %d, want 1 to %d, or 0 (meaning the endpoint's)", c.Port, math.MaxUint16)
	case c.Interval != 0 && c.Interval < minInterval:
		return fmt.Errorf("health: Check.Interval is %v, want at least %v, or 0 (meaning %v)", c.Interval, minInterval, defaultInterval)
	case c.Timeout < 0:
		return fmt.Errorf("health: Check.Timeout is %v, want more than 0, or 0 (meaning %v)", c.Timeout, defaultTimeout)
	case c.Interval > 0 && c.Timeout > c.Interval:
		return fmt.Errorf("health: Check.Timeout is %v, want more than 0 and at most Interval, which is %v, or 0 (meaning %v)", c.Timeout, c.Interval, defaultTimeout)
	case c.Unhealthy < 0 || c.Unhealthy > math.MaxInt32:
		return fmt.Errorf("health: Check.Unhealthy is %d, want 1 or more, or 0 (meaning %d)", c.Unhealthy, defaultUnhealthy)
	case c.Healthy < 0 || c.Healthy > math.MaxInt32:
		return fmt.Errorf("health: Check.Healthy is %d, want 1 or more, or 0 (meaning %d)", c.Healthy, defaultHealthy)
	}
	return nil
}

// unfit reports whether a path cannot be written into a request line with r.
func unfit(r rune) bool { return r <= ' ' || r > '~' }
