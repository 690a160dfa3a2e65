package discovery_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

// zone is the records that stand for the suite's endpoints. A target is named
// after its endpoint: the SRV records and the addresses are asked for one after
// the other, and a change in between must not give one's address to another.
func zone(endpoints []discovery.Endpoint) []string {
	var records []string
	for _, e := range endpoints {
		at := netip.MustParseAddrPort(e.Addr)
		kind := "A"
		if at.Addr().Is6() {
			kind = "AAAA"
		}
		records = append(records,
			fmt.Sprintf("users.test. 60 IN SRV 0 %d %d %s.test.", e.EffectiveWeight(), at.Port(), e.ID),
			fmt.Sprintf("%s.test. 60 IN %s %s", e.ID, kind, at.Addr()))
	}
	return records
}

// DNS carries addresses and weights, and nothing else.
func TestDNSContract(t *testing.T) {
	resolvertest.Run(t, func(t *testing.T) resolvertest.Subject {
		n := newNameserver(t)
		return resolvertest.Subject{
			Resolver: discovery.DNS(discovery.DNSConfig{SRV: true, Resolver: n.serve(), Interval: 100 * time.Millisecond}),
			Service:  "users.test",
			Set: func(endpoints ...discovery.Endpoint) error {
				n.set(zone(endpoints)...)
				return nil
			},
			Unknown: "nobody.test",
			Fail: func(failing bool) error {
				var s script
				if failing {
					s = rcode(dns.RcodeServerFailure)
				}
				n.fault(question{}, s)
				return nil
			},
			Same: func(came, set discovery.Endpoint) bool {
				return came.Addr == set.Addr && came.EffectiveWeight() == set.EffectiveWeight()
			},
			Within: within,
		}
	})
}
