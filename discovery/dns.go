package discovery

import (
	"context"
	"iter"
	"net"
	"net/netip"

	"github.com/fairlead-go/fairlead/internal/wake"
)

// DNSTarget is the key in an endpoint's Metadata under which the target of its
// SRV record stands, without a final dot.
const DNSTarget = "dns.target"

// DNSResolver asks DNS who serves a name. Make one with [DNS].
// All methods are safe for concurrent use.
type DNSResolver struct {
	config   DNSConfig
	resolver *net.Resolver
	wakers   wake.Set[string]
}

var (
	_ Resolver  = (*DNSResolver)(nil)
	_ Refresher = (*DNSResolver)(nil)
)

// DNS returns a Resolver that asks DNS by the resolver of package net, again and
// again.
//
// A service with a port (users.internal:8080) is what the A and AAAA records of
// its name say, at that port. One without is what the SRV records say, if
// [DNSConfig.SRV] is set or the asked name begins with an underscore, and else
// what A and AAAA say, at [DNSConfig.Port]. An IP address is itself, and is not
// asked for.
//
// Of SRV records only those of the lowest priority value count: a further
// priority is a backup, used once the better one is gone from DNS. A weight is
// the endpoint's weight, and a weight of 0 means 1, not a drain: RFC 2782 gives
// such a record a very small share (one part in the sum of the weights plus
// one), and an equal one where all are 0. The target "." says that nobody serves
// the name. A service has at most 10,000 endpoints; more are left out, and logged.
//
// DNS does no I/O and starts nothing. Mistakes in config are told by
// [DNSResolver.Validate], which fairlead.New calls, and by every Watch.
func DNS(config DNSConfig) *DNSResolver {
	return &DNSResolver{config: config, resolver: interruptible(config.Resolver)}
}

// Validate returns every mistake in the configuration, or nil.
func (r *DNSResolver) Validate() error { return r.config.validate() }

// Watch yields the service's endpoints now and after each look-up that found
// them changed, until ctx ends.
//
// A name that DNS does not know, or has no such records of, is unknown until
// there are some; once there were, their absence is an empty snapshot. A name
// that cannot be one of DNS is unknown for good, and the error says why.
// Everything else that goes wrong is yielded as an error, and tried again after a
// random time of up to 25 ms, doubling to the interval.
//
// Where only some of a look-up's questions failed (AAAA beside A, or some targets
// of SRV records), it is no error, and what was last known of them stays for 30 s
// or three intervals, whichever is longer. The first look-up after that goes
// without, so that a name server that never answers AAAA neither breaks the
// service nor keeps dead addresses in it. Both are logged, once per host.
//
// Where Go asks the system's C library (see package net), a look-up that was
// given up ends in the background, when the library lets it.
func (r *DNSResolver) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		if ctx.Err() != nil {
			return
		}
		target, err := r.target(service)
		if err != nil || target.addr.IsValid() {
			refuse(ctx, target.settled(err), err, yield)
			return
		}
		woken, remove := r.wakers.Add(service)
		defer remove()
		newDNSWatch(r, target, woken).run(ctx, yield)
	}
}

// Refresh makes the watches of service look again at once, or as soon as a
// second has passed since they last did. It never blocks.
func (r *DNSResolver) Refresh(service string) { r.wakers.Wake(service) }

func (r *DNSResolver) target(service string) (dnsTarget, error) {
	if err := r.config.validate(); err != nil {
		return dnsTarget{}, err
	}
	return r.config.target(service)
}

// settled is the snapshot of a service that is an address, or that cannot be
// asked because of err.
func (t dnsTarget) settled(err error) Snapshot {
	if err != nil {
		return Snapshot{Unknown: true}
	}
	return Snapshot{Endpoints: Addrs(netip.AddrPortFrom(t.addr, t.port).String())}
}
