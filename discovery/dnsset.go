package discovery

import (
	"maps"
	"net/netip"
	"slices"
)

// dnsSet gathers endpoints by their address. The zero value is empty.
type dnsSet struct {
	byAddr map[netip.AddrPort]Endpoint
	full   bool // there were more than it takes
}

// add takes an endpoint in, or adds its weight to that of the one at the same
// address: that is the share that RFC 2782 gives to an address with two records.
func (s *dnsSet) add(addr netip.AddrPort, e Endpoint) {
	if s.byAddr == nil {
		s.byAddr = make(map[netip.AddrPort]Endpoint)
	}
	if same, ok := s.byAddr[addr]; ok {
		same.Weight = min(same.Weight+e.Weight, MaxWeight)
		s.byAddr[addr] = same
		return
	}
	if len(s.byAddr) == maxDNSAnswer {
		s.full = true
		return
	}
	e.Addr = addr.String()
	s.byAddr[addr] = e
}

// sorted returns the endpoints, ordered by address.
func (s *dnsSet) sorted() []Endpoint {
	endpoints := make([]Endpoint, 0, len(s.byAddr))
	for _, addr := range slices.SortedFunc(maps.Keys(s.byAddr), netip.AddrPort.Compare) {
		endpoints = append(endpoints, s.byAddr[addr])
	}
	return endpoints
}
