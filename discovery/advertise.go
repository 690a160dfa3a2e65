package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// AdvertisedAddr returns the address at which others can reach a listener, as
// host:port: its own, be it loopback, or, where it listens on all addresses of the
// machine, the machine's. That must be a single one, IPv4 if it has any, which is neither
// loopback nor link-local: where there are several, an error names them, and
// somebody has to choose.
func AdvertisedAddr(l net.Listener) (string, error) {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("discovery: the listener's address is %v, want a TCP address", l.Addr())
	}
	if len(addr.IP) > 0 && !addr.IP.IsUnspecified() {
		return addr.String(), nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("discovery: looking for the machine's address: %w", err)
	}
	host, err := soleHost(addrs, len(addr.IP) == net.IPv4len)
	if err != nil {
		return "", fmt.Errorf("discovery: the listener's address is %v, and %w: set the endpoint's Addr", addr, err)
	}
	return net.JoinHostPort(host.String(), strconv.Itoa(addr.Port)), nil
}

// soleHost returns the one of addrs that others can reach.
func soleHost(addrs []net.Addr, only4 bool) (netip.Addr, error) {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch host := prefix.Addr().Unmap(); {
		case !host.IsGlobalUnicast():
		case host.Is4():
			v4 = append(v4, host)
		case !only4:
			v6 = append(v6, host)
		}
	}
	hosts := v4
	if len(hosts) == 0 {
		hosts = v6
	}
	switch len(hosts) {
	case 0:
		return netip.Addr{}, errors.New("the machine has no address that others can reach")
	case 1:
		return hosts[0], nil
	}
	return netip.Addr{}, fmt.Errorf("the machine has several: %v", hosts)
}
