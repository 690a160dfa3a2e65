package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dnsParallel  = 8      // questions of one look-up under way at a time
	maxDNSAnswer = 10_000 // endpoints of one service
)

// dnsQuestion is one that a name server answers in full, or not at all.
type dnsQuestion struct{ network, host string }

// dnsKnown is the last answer to a question.
type dnsKnown struct {
	addrs   []netip.Addr
	failing time.Time // since when others are answered and it is not; zero if it is
}

type dnsAnswer struct {
	addrs []netip.Addr // sorted, each once
	err   error
}

// lookupHost returns an endpoint for each address of the target's name.
func (w *dnsWatch) lookupHost(ctx context.Context) ([]Endpoint, error) {
	found, err := w.lookupAddrs(ctx, []string{w.target.name})
	if err != nil {
		return nil, err
	}
	var set dnsSet
	for _, addr := range found[w.target.name] {
		set.add(netip.AddrPortFrom(addr, w.target.port), Endpoint{})
	}
	return w.endpoints(set), nil
}

// lookupAddrs asks for the addresses of all hosts. A question that failed is
// answered from memory, as long as another one brought addresses and there is
// one to dial; else all stays as it was, and the failure is the error. If no
// host has addresses, the error satisfies isNotFound. A look-up may call it for
// one priority after the other.
func (w *dnsWatch) lookupAddrs(ctx context.Context, hosts []string) (map[string][]netip.Addr, error) {
	questions := w.questions(hosts)
	answers := w.resolver.ask(ctx, questions)
	found := make(map[string][]netip.Addr, len(hosts))
	var failed, absent error
	fresh, usable := false, 0
	for i, q := range questions {
		known := dnsKnown{addrs: answers[i].addrs}
		switch err := answers[i].err; {
		case err == nil:
			fresh = fresh || known.addrs != nil
		case isNotFound(err):
			absent = err
		default:
			failed = err
			known = w.recall(q)
		}
		w.learnt[q] = known
		addrs := w.usable(known.addrs)
		usable += len(addrs)
		found[q.host] = append(found[q.host], addrs...)
	}
	if failed != nil && (!fresh || usable == 0) {
		return nil, failed
	}
	if !fresh {
		return nil, absent
	}
	w.warnOfFailures(questions, answers)
	return found, nil
}

// recall returns what is known of a question that failed. Its time does not begin
// with a look-up that failed as a whole, of which nothing is learnt: when an outage
// ends, some question is the last to be answered again.
func (w *dnsWatch) recall(q dnsQuestion) dnsKnown {
	known := w.known[q]
	if known.failing.IsZero() {
		known.failing = w.looked
	}
	if w.looked.Sub(known.failing) >= w.resolver.config.memory() {
		known.addrs = nil
	}
	return known
}

// questions asks for each family by itself: asked for both, Go's resolver can say
// "no such host" where one has no records and the other one's question failed. A
// search list, though, must be walked once for both, or the families might come
// from different names; there a "no such host" is confirmed.
func (w *dnsWatch) questions(hosts []string) []dnsQuestion {
	var questions []dnsQuestion
	for _, host := range hosts {
		switch network := w.resolver.config.Network; {
		case network == "ip4" || network == "ip6":
			questions = append(questions, dnsQuestion{network, host})
		case strings.HasSuffix(host, "."):
			questions = append(questions, dnsQuestion{"ip4", host}, dnsQuestion{"ip6", host})
		default:
			questions = append(questions, dnsQuestion{"ip", host})
		}
	}
	return questions
}

// ask returns the answers in the order of the questions, and returns at once
// when ctx ends. It stops asking when it has more addresses than are wanted: the
// last answers are empty then.
func (r *DNSResolver) ask(ctx context.Context, questions []dnsQuestion) []dnsAnswer {
	answers := make([]dnsAnswer, len(questions))
	var next, found atomic.Int64
	var workers sync.WaitGroup
	for range min(len(questions), dnsParallel) {
		workers.Go(func() {
			for found.Load() <= maxDNSAnswer {
				i := int(next.Add(1)) - 1
				if i >= len(questions) {
					return
				}
				answers[i] = r.answer(ctx, questions[i])
				found.Add(int64(len(answers[i].addrs)))
			}
		})
	}
	workers.Wait()
	return answers
}

func (r *DNSResolver) answer(ctx context.Context, q dnsQuestion) dnsAnswer {
	addrs, err := r.resolver.LookupNetIP(ctx, q.network, q.host)
	if err != nil && q.network == "ip" && isNotFound(err) {
		err = r.confirm(ctx, q.host, err)
	}
	if err != nil {
		return dnsAnswer{err: err}
	}
	for i, addr := range addrs {
		addrs[i] = addr.Unmap() // an IPv4 address comes in 16 bytes
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return dnsAnswer{addrs: slices.Compact(addrs)}
}

// confirm returns absent if neither family has records of the host, and else why
// that cannot be said.
func (r *DNSResolver) confirm(ctx context.Context, host string, absent error) error {
	for _, network := range []string{"ip4", "ip6"} {
		_, err := r.resolver.LookupNetIP(ctx, network, host)
		if err == nil {
			return fmt.Errorf("DNS says of %q that it exists and that it does not", host)
		}
		if !isNotFound(err) {
			return err
		}
	}
	return absent
}

// usable returns the addresses that can be dialled. 0.0.0.0, with which filters
// answer for names that they block, would reach this very machine.
func (w *dnsWatch) usable(addrs []netip.Addr) []netip.Addr {
	var usable []netip.Addr
	for _, addr := range addrs {
		if addr.IsUnspecified() || addr.IsMulticast() {
			w.warner.warn("address "+addr.String(), "discovery: skipped an address in DNS that nobody can listen at", "address", addr)
			continue
		}
		usable = append(usable, addr)
	}
	return usable
}

func (w *dnsWatch) warnOfFailures(questions []dnsQuestion, answers []dnsAnswer) {
	for i, q := range questions {
		err := answers[i].err
		if err == nil || isNotFound(err) {
			continue
		}
		known := len(w.learnt[q].addrs)
		w.warner.warn("failed "+q.host, "discovery: a part of a DNS look-up failed, what was last known of it stays for now",
			"host", q.host, "known", known, "for", w.resolver.config.memory(), "error", err)
		if lost := len(w.known[q].addrs) - known; lost > 0 {
			w.warner.warn("forgotten "+q.host, "discovery: a part of a DNS look-up has failed for too long, what was last known of it is gone",
				"host", q.host, "gone", lost, "after", w.resolver.config.memory(), "error", err)
		}
	}
}

func (w *dnsWatch) endpoints(set dnsSet) []Endpoint {
	if set.full {
		w.warner.warn("too many", "discovery: DNS has too many endpoints for the service, skipped the rest", "used", maxDNSAnswer)
	}
	return set.sorted()
}
