package policytest

import (
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// load makes calls, of which so many are in flight at any time: each ends when
// that many have been made after it.
type load struct {
	fleet   *fleet
	picker  balancer.Picker
	observe balancer.Observer
	callers *callers
	leases  []balancer.Lease // in flight, the oldest at at
	at      int
}

// load returns a load on picker; with inFlight 0 each call ends at once.
func (s *subject) load(f *fleet, picker balancer.Picker, inFlight int) *load {
	l := &load{fleet: f, picker: picker, callers: s.callers(), leases: make([]balancer.Lease, inFlight)}
	l.observe, _ = picker.(balancer.Observer)
	return l
}

// next makes a call and returns where it went.
func (l *load) next() (*balancer.Node, error) {
	n := l.picker.Pick(l.callers.next()).Node
	if err := wantReady(n); err != nil {
		return nil, err
	}
	lease := l.fleet.call(n)
	lease.Report(balancer.Outcome{Verdict: balancer.Success})
	if l.observe != nil {
		l.observe.Observe(n, balancer.Outcome{Verdict: balancer.Success}, time.Millisecond)
	}
	if len(l.leases) == 0 {
		lease.Release()
		return n, nil
	}
	l.leases[l.at].Release()
	l.leases[l.at] = lease
	l.at = (l.at + 1) % len(l.leases)
	return n, nil
}

// end ends all calls in flight.
func (l *load) end() {
	for i := range l.leases {
		l.leases[i].Release()
	}
}
