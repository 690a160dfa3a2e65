package main

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// load is the callers of a scenario at work.
type load struct {
	spec    Load
	began   time.Time
	callers []*caller
	stop    chan struct{}
	running sync.WaitGroup
	lastOK  [maxServers]atomic.Int64 // when the last call began that a server answered well
}

func startLoad(spec Load, client *http.Client, health healthpb.HealthClient, seed uint64) *load {
	l := &load{spec: spec, began: time.Now(), stop: make(chan struct{})}
	for i := range spec.Callers {
		c := &caller{load: l, client: client, health: health, number: i}
		l.callers = append(l.callers, c)
		l.running.Go(func() { c.run(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	return l
}

// run calls at the caller's share of the rate, and not faster to make up for a
// call that took long.
func (c *caller) run(random *rand.Rand) {
	every := time.Duration(float64(time.Second) * float64(c.load.spec.Callers) / float64(c.load.spec.Rate))
	next := time.Now().Add(time.Duration(random.Float64() * float64(every)))
	for {
		select {
		case <-c.load.stop:
			return
		case <-time.After(time.Until(next)):
		}
		c.call(c.load.spec.draw(random))
		if next = next.Add(every); next.Before(time.Now()) {
			next = time.Now()
		}
	}
}

// draw says what kind of call is next.
func (l *Load) draw(random *rand.Rand) method {
	switch x := random.Float64(); {
	case x < l.Posts:
		return post
	case x < l.Posts+l.RPCs:
		return rpc
	}
	return get
}

func (l *load) good(slot int, start time.Duration) {
	for {
		last := l.lastOK[slot].Load()
		if int64(start) <= last || l.lastOK[slot].CompareAndSwap(last, int64(start)) {
			return
		}
	}
}

// servedSince reports whether all of the servers answered a call well that began
// since then.
func (l *load) servedSince(slots map[int]bool, since time.Duration) bool {
	for slot := range slots {
		if time.Duration(l.lastOK[slot].Load()) < since {
			return false
		}
	}
	return true
}

// end stops the callers, each after its call, and returns what they recorded, in
// order. A caller that has not ended within the time is unanswered.
func (l *load) end(within time.Duration) (records []record, unanswered bool) {
	close(l.stop)
	done := make(chan struct{})
	go func() {
		l.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(within):
		return nil, true
	}
	for _, c := range l.callers {
		records = append(records, c.records...)
	}
	slices.SortStableFunc(records, func(a, b record) int { return int(a.start - b.start) })
	return records, false
}
