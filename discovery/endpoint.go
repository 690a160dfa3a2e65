package discovery

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
)

// MaxWeight is the largest weight an [Endpoint] may have.
const MaxWeight = 1_000_000

// Endpoint is one address of a service.
//
// The zero value of every field but Addr has a meaning of its own, so
// Endpoint{Addr: "10.0.0.1:8080"} is complete.
type Endpoint struct {
	// ID is the endpoint's identity: what happened to it (counts, a broken
	// breaker, open connections) is remembered by ID. Empty means Addr.
	ID string `json:"id,omitempty"`

	// Addr is where the endpoint listens, as host:port; an IPv6 host stands in
	// brackets (net.JoinHostPort). A host name is looked up at each dial.
	Addr string `json:"addr"`

	// Weight is the endpoint's share of the calls in relation to its peers,
	// from 1 to [MaxWeight]. Zero means 1. A source in which somebody wrote an
	// explicit weight of 0 sets Drain.
	Weight int `json:"weight,omitempty"`

	// Drain asks for no new calls: those in flight finish, and the connections
	// close when the endpoint leaves.
	Drain bool `json:"drain,omitempty"`

	// Region and Zone tell where the endpoint runs. Empty means unknown.
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`

	// Metadata is whatever else the source knows. It is read-only once the
	// endpoint was yielded.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Identity returns the endpoint's ID, or its Addr where the ID is empty.
func (e Endpoint) Identity() string {
	if e.ID != "" {
		return e.ID
	}
	return e.Addr
}

// EffectiveWeight returns the endpoint's weight, with 1 in place of the zero value.
func (e Endpoint) EffectiveWeight() int {
	if e.Weight == 0 {
		return 1
	}
	return e.Weight
}

// Equal reports whether both endpoints say the same, metadata included.
// Zero values and what they stand for are the same.
func (e Endpoint) Equal(other Endpoint) bool {
	return e.Identity() == other.Identity() &&
		e.Addr == other.Addr &&
		e.EffectiveWeight() == other.EffectiveWeight() &&
		e.Drain == other.Drain &&
		e.Region == other.Region &&
		e.Zone == other.Zone &&
		maps.Equal(e.Metadata, other.Metadata)
}

// Validate returns an error that names the field, its value and what is
// allowed, or nil.
func (e Endpoint) Validate() error {
	if err := validateAddr(e.Addr); err != nil {
		return err
	}
	if e.Weight < 0 || e.Weight > MaxWeight {
		return fmt.Errorf("discovery: endpoint %q: Weight is %d, want 0 (meaning 1) to %d", e.Identity(), e.Weight, MaxWeight)
	}
	return nil
}

func validateAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("discovery: endpoint Addr is %q, want host:port with an IPv6 host in brackets: %w", addr, err)
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/@?#") {
		return fmt.Errorf("discovery: endpoint Addr is %q, want a host name or an IP address before the port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("discovery: endpoint Addr is %q, want a port from 1 to 65535", addr)
	}
	return nil
}

// Addrs returns one endpoint per address, each of weight 1 and with its address as ID.
// The addresses are checked where the endpoints are used; see [Services.Validate].
func Addrs(addrs ...string) []Endpoint {
	endpoints := make([]Endpoint, len(addrs))
	for i, addr := range addrs {
		endpoints[i] = Endpoint{Addr: addr}
	}
	return endpoints
}
