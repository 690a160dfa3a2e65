package policytest

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
)

const (
	stressNodes  = 20
	stressBuilds = 30
	stressPicks  = 20_000 // per goroutine at most
	stressFlips  = 20_000 // at most: while they go on, nobody's sleep ends
)

// stress is picks, builds and changes of readiness at the same time. The first
// node is always there and always ready. Those who pick tell nothing to the one
// who builds: whatever they shared would hide a race from the detector.
type stress struct {
	subject *subject
	fleet   *fleet
	policy  balancer.Policy
	now     atomic.Pointer[version]
	began   sync.WaitGroup // every goroutine that picks
	over    atomic.Bool

	mu  sync.Mutex
	err error // the first; guarded by mu
}

// version is a Picker and what it was made for.
type version struct {
	picker balancer.Picker
	nodes  []*balancer.Node
}

func checkConcurrent(s *subject) error {
	f := newFleet(stressNodes, uneven)
	defer f.close()
	st := &stress{subject: s, fleet: f, policy: s.policy()}
	st.now.Store(&version{build(st.policy, f.nodes, nil), f.nodes})
	var wg sync.WaitGroup
	for range 4 {
		st.began.Add(1)
		wg.Go(func() { st.fail(guard(st.pick)) })
	}
	wg.Go(func() { st.fail(guard(st.flip)) })
	st.began.Wait()
	st.fail(guard(st.build))
	st.over.Store(true)
	wg.Wait()
	return st.err
}

func (st *stress) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = err
	}
}

func (st *stress) build() error {
	var picker balancer.Picker
	for i := range stressBuilds {
		nodes := slices.Clone(st.fleet.nodes)
		switch gone := 1 + i%(stressNodes-1); i % 3 {
		case 1:
			nodes = slices.Delete(nodes, gone, gone+1)
		case 2:
			nodes = nodes[:gone]
		}
		picker = build(st.policy, nodes, st.now.Load().picker)
		st.now.Store(&version{picker, nodes})
		runtime.Gosched()
	}
	return nil
}

func (st *stress) flip() error {
	for i := 0; i < stressFlips && !st.over.Load(); i++ {
		set(st.fleet.nodes[1+i%(stressNodes-1)], balancer.GateState(i%3))
		runtime.Gosched()
	}
	return nil
}

func (st *stress) pick() error {
	st.began.Done()
	callers := st.subject.callers()
	for i := 0; i < stressPicks && !st.over.Load(); i++ {
		v := st.now.Load()
		info := callers.next()
		if i%4 == 3 {
			info.Avoid(st.fleet.nodes[1+i%(stressNodes-1)])
		}
		n := v.picker.Pick(info).Node
		if err := wantMember(n, v.nodes); err != nil {
			return err // one of them is always ready
		}
		lease := st.fleet.call(n)
		if o, ok := v.picker.(balancer.Observer); ok {
			o.Observe(n, balancer.Outcome{Verdict: balancer.Success}, time.Millisecond)
		}
		lease.Release()
	}
	return nil
}
