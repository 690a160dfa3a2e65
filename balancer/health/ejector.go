package health

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

// Ejector finds the outliers among the endpoints of one service. Make one with
// [NewEjector] and Close it in the end. It is safe for concurrent use; nothing
// blocks. It has a timer while it has members, and no goroutine.
type Ejector struct {
	config  Ejection
	changed func(n *balancer.Node, ejectedFor time.Duration)

	mu      sync.Mutex
	members []*Outlier  // guarded by mu
	ejected int         // of them; guarded by mu
	timer   *time.Timer // of the next look at the rates, nil without members; guarded by mu
	closed  bool        // guarded by mu
}

// NewEjector returns an Ejector without members, or an error that names the field,
// its value and what is allowed. changed, unless nil, is called with no lock held when a
// node is ejected, with the time that it is for, and with 0 when that is over.
func NewEjector(config Ejection, changed func(n *balancer.Node, ejectedFor time.Duration)) (*Ejector, error) {
	config, err := config.WithDefaults()
	if err != nil {
		return nil, err
	}
	if changed == nil {
		changed = func(*balancer.Node, time.Duration) {}
	}
	return &Ejector{config: config, changed: changed}, nil
}

// Add returns what is known of a node. Its Remove takes it out again. After Close it
// is one that is never ejected.
func (e *Ejector) Add(n *balancer.Node) *Outlier {
	o := &Outlier{ejector: e, node: n}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return o
	}
	e.members = append(e.members, o)
	if e.timer == nil {
		e.timer = time.AfterFunc(e.config.Interval, e.look)
	}
	return o
}

// Close ends the Ejector's timers. Nobody is ejected after that, and nodes that are
// stay so. It can be called twice.
func (e *Ejector) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, o := range e.members {
		o.stopLocked()
	}
	e.members = nil
	if e.timer != nil {
		e.timer.Stop()
	}
}

// roomLocked reports whether one may be ejected: always one, and never so many
// that, with those that are not well for other reasons, less than half were left, at
// which point health would be ignored.
func (e *Ejector) roomLocked(candidate *Outlier) bool {
	n, sick := 0, 0
	for _, o := range e.members {
		if o.node.Endpoint().Drain {
			continue
		}
		n++
		if o != candidate && (o.out || !o.node.Well()) {
			sick++
		}
	}
	return e.ejected < max(n*e.config.MaxPercent/100, 1) && sick < n/2
}

// look applies the rules of rates to the calls since it last did.
func (e *Ejector) look() {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	if len(e.members) == 0 {
		e.timer = nil
		e.mu.Unlock()
		return
	}
	e.timer.Reset(e.config.Interval)
	out := e.outliersLocked()
	var ejected []*Outlier
	for _, o := range out {
		if o.ejectLocked() {
			ejected = append(ejected, o)
		}
	}
	for _, o := range e.members {
		if !o.out && o.times > 0 {
			o.times--
		}
	}
	e.mu.Unlock()
	for _, o := range ejected {
		o.tell()
	}
}

// outliersLocked returns those that one of the rates speaks against, the worst first.
func (e *Ejector) outliersLocked() []*Outlier {
	compared := make([]*Outlier, 0, len(e.members))
	var out []*Outlier
	for _, o := range e.members {
		o.rateLocked()
		if o.out {
			continue
		}
		if o.samples >= failureSamples && e.config.FailurePercent != off && 100*(1-o.rate) >= float64(e.config.FailurePercent) {
			out = append(out, o)
		}
		if o.samples >= successSamples {
			compared = append(compared, o)
		}
	}
	if threshold := e.threshold(compared); threshold > 0 {
		for _, o := range compared {
			if o.rate < threshold && !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Outlier) int { return cmp.Compare(a.rate, b.rate) })
	return out
}

// threshold is the success rate below which an endpoint is an outlier, 0 where
// there are too few to compare.
func (e *Ejector) threshold(compared []*Outlier) float64 {
	if e.config.SuccessRateFactor == off || len(compared) < successEndpoints {
		return 0
	}
	n, mean, variance := float64(len(compared)), 0.0, 0.0
	for _, o := range compared {
		mean += o.rate / n
	}
	for _, o := range compared {
		variance += (o.rate - mean) * (o.rate - mean) / n
	}
	return min(mean-e.config.SuccessRateFactor*math.Sqrt(variance), mean-successPoints)
}
