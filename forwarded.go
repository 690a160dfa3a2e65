package fairlead

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/fairlead-go/fairlead/balancer"
)

const maxTrustedHops = 100

// WithForwardedIP takes the end user's address, for balancer.IPHash, from the
// Forwarded (RFC 7239) or X-Forwarded-For header of the requests, where their
// context carries none: for a proxy that passes on what it was sent. It is off by
// default.
//
// trustedHops is how many of the entries at the right end were written by
// proxies of your own and name further proxies of your own. 0 takes the last
// entry, 1 the one before it, and so on. Never count from the left: the
// left-most entry is whatever the user wrote.
func WithForwardedIP(trustedHops int) ServiceOption {
	return serviceOption(func(s *settings) error {
		if trustedHops < 0 || trustedHops > maxTrustedHops {
			return fmt.Errorf("fairlead: WithForwardedIP is %d, want 0 to %d", trustedHops, maxTrustedHops)
		}
		s.forwarded = true
		s.trustedHops = trustedHops
		return nil
	})
}

// identify puts the end user's address into the call's pick, for a service that takes
// it from the request's header.
func (c *call) identify() {
	if _, ok := balancer.ClientIP(c.ctx); ok {
		return
	}
	if addr, ok := forwardedIP(c.req.Header, c.service.settings.trustedHops); ok {
		c.info.Context = balancer.WithClientIP(c.ctx, addr)
	}
}

// forwardedIP returns the address in the entry that stands hops from the right.
func forwardedIP(h http.Header, hops int) (netip.Addr, bool) {
	if values := h["Forwarded"]; len(values) > 0 {
		entry, ok := fromRight(values, hops)
		if !ok {
			return netip.Addr{}, false
		}
		return nodeAddr(forParameter(entry))
	}
	entry, ok := fromRight(h["X-Forwarded-For"], hops)
	if !ok {
		return netip.Addr{}, false
	}
	return nodeAddr(entry)
}

// fromRight returns the entry that stands hops from the right of a list which
// may go over several header lines.
func fromRight(lines []string, hops int) (string, bool) {
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for more := true; more; {
			var entry string
			comma := strings.LastIndexByte(line, ',')
			if more = comma >= 0; more {
				line, entry = line[:comma], line[comma+1:]
			} else {
				entry = line
			}
			if hops == 0 {
				return strings.TrimSpace(entry), true
			}
			hops--
		}
	}
	return "", false
}

// forParameter returns the value of a Forwarded entry's for=.
func forParameter(entry string) string {
	for pair := range strings.SplitSeq(entry, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "for") {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// nodeAddr reads an address with or without a port, IPv6 with or without brackets.
func nodeAddr(node string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(node); err == nil {
		return ap.Addr(), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(node, "["), "]"))
	return addr, err == nil
}
