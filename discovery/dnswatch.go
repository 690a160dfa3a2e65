package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

const (
	dnsRefreshEvery = time.Second // how often a watch obeys Refresh
	dnsBackoffBase  = 25 * time.Millisecond
)

// dnsWatch is the state of one Watch. It belongs to the goroutine that ranges
// over it.
type dnsWatch struct {
	resolver *DNSResolver
	target   dnsTarget
	wake     <-chan struct{}
	warner   dnsWarner

	known    map[dnsQuestion]dnsKnown // the answers of the last look-up that did not fail
	learnt   map[dnsQuestion]dnsKnown // those of the one under way
	looked   time.Time                // when the last look-up began
	failures int                      // in a row
	last     told
	seen     bool // the service has had records
}

func newDNSWatch(r *DNSResolver, t dnsTarget, wake <-chan struct{}) *dnsWatch {
	return &dnsWatch{resolver: r, target: t, wake: wake, warner: dnsWarner{logger: r.config.logger(), service: t.service}}
}

func (w *dnsWatch) run(ctx context.Context, yield func(Snapshot, error) bool) {
	for {
		s, err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.failures++
			w.last.doubt()
			if !yield(Snapshot{}, fmt.Errorf("discovery: service %q: %w", w.target.service, err)) {
				return
			}
		} else {
			w.failures = 0
			if w.last.news(s, nil) && !yield(s, nil) {
				return
			}
		}
		if !w.rest(ctx) {
			return
		}
	}
}

// look asks once.
func (w *dnsWatch) look(ctx context.Context) (Snapshot, error) {
	w.looked = time.Now()
	w.learnt = make(map[dnsQuestion]dnsKnown)
	within, cancel := context.WithTimeout(ctx, w.resolver.config.timeout())
	defer cancel()
	var endpoints []Endpoint
	var err error
	if w.target.port != 0 {
		endpoints, err = w.lookupHost(within)
	} else {
		endpoints, err = w.lookupSRV(ctx, within)
	}
	switch {
	case err == nil || isNotFound(err):
	case within.Err() != nil:
		return Snapshot{}, fmt.Errorf("no answer within %v: %w", w.resolver.config.timeout(), err)
	default:
		return Snapshot{}, err
	}
	w.known = w.learnt
	w.seen = w.seen || err == nil
	return Snapshot{Endpoints: endpoints, Unknown: !w.seen}, nil
}

// isNotFound reports whether DNS answered that there is no such name, or none
// with such records. Go's resolver takes nothing else for that but a referral
// (of a server that neither is asked for the zone nor recurses) which carries
// additional records. The AddrError is its way to say that /etc/hosts has the
// name, with addresses of the other family.
func isNotFound(err error) bool {
	var dns *net.DNSError
	var addr *net.AddrError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &addr)
}

// rest waits until the next look-up is due; Refresh hastens it. It reports
// whether ctx still goes on.
func (w *dnsWatch) rest(ctx context.Context) bool {
	due := time.Now().Add(w.pause())
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-w.wake:
			timer.Reset(min(time.Until(due), dnsRefreshEvery-time.Since(w.looked)))
		}
	}
}

// pause returns how long to rest: the interval ±10 %, so that a fleet does not
// ask in step, or after failures an exponential back-off with full jitter (AWS
// Architecture Blog, "Exponential Backoff And Jitter") up to the interval.
func (w *dnsWatch) pause() time.Duration {
	interval := w.resolver.config.interval()
	if w.failures == 0 {
		return interval*9/10 + rand.N(interval/5)
	}
	ceiling := dnsBackoffBase << min(w.failures-1, 20)
	return rand.N(min(ceiling, interval))
}
