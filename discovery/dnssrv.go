package discovery

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// lookupSRV returns the endpoints behind the SRV records of the target's name.
// Of the two contexts the second ends earlier, after the look-up's timeout.
func (w *dnsWatch) lookupSRV(ctx, within context.Context) ([]Endpoint, error) {
	records, err := w.records(ctx, within)
	if err != nil {
		return nil, err
	}
	for records = w.usableRecords(records); len(records) > 0; {
		var group []*net.SRV
		group, records = cutPriority(records)
		endpoints, err := w.lookupTargets(within, group)
		if err != nil && !isNotFound(err) || len(endpoints) > 0 {
			return endpoints, err
		}
	}
	return nil, nil
}

// records asks for the SRV records. net.Resolver may be deaf to its context
// here; it is left to itself only when the watch ends, so that there is one such
// question at a time.
func (w *dnsWatch) records(ctx, within context.Context) ([]*net.SRV, error) {
	type answer struct {
		records []*net.SRV
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		_, records, err := w.resolver.resolver.LookupSRV(within, "", "", w.target.name)
		answered <- answer{records, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answered:
		// Records beside an error are the good ones among bad ones.
		if len(a.records) > 0 && a.err != nil {
			w.warner.warn("records", "discovery: skipped SRV records with malformed targets", "error", a.err)
			a.err = nil
		}
		return a.records, a.err
	}
}

// usableRecords returns the records that name somebody, the best priority
// first. The target "." names nobody, on purpose (RFC 2782).
func (w *dnsWatch) usableRecords(records []*net.SRV) []*net.SRV {
	var usable []*net.SRV
	for _, r := range records {
		switch {
		case r.Target == ".":
		case r.Port == 0:
			w.warner.warn("port "+r.Target, "discovery: skipped an SRV record with port 0", "target", r.Target)
		default:
			usable = append(usable, r)
		}
	}
	slices.SortFunc(usable, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	return usable
}

// cutPriority parts sorted records behind the first priority.
func cutPriority(records []*net.SRV) (group, rest []*net.SRV) {
	n := slices.IndexFunc(records, func(r *net.SRV) bool { return r.Priority != records[0].Priority })
	if n < 0 {
		n = len(records)
	}
	return records[:n], records[n:]
}

// lookupTargets returns an endpoint for each address of each record's target.
func (w *dnsWatch) lookupTargets(ctx context.Context, records []*net.SRV) ([]Endpoint, error) {
	var hosts []string
	for _, r := range records {
		hosts = append(hosts, r.Target)
	}
	found, err := w.lookupAddrs(ctx, slices.Compact(hosts))
	if err != nil {
		return nil, err
	}
	var set dnsSet
	for _, r := range records {
		e := Endpoint{
			Weight:   max(1, int(r.Weight)),
			Metadata: map[string]string{DNSTarget: strings.TrimSuffix(r.Target, ".")},
		}
		for _, addr := range found[r.Target] {
			set.add(netip.AddrPortFrom(addr, r.Port), e)
		}
		if set.full {
			break
		}
	}
	return w.endpoints(set), nil
}
