package consul

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
)

// question is what one query asks.
type question struct {
	index  uint64 // wait until Consul's has passed it; 0: do not wait
	leader bool   // only the leader may answer, and only while it is sure that it is
}

// answer is what Consul said to one query with status 200.
type answer struct {
	asked   uint64        // the question's index
	leader  bool          // the leader's own
	wait    time.Duration // how long it was told to wait
	elapsed time.Duration // how long it took
	token   bool          // it sent a token of ours

	index   uint64
	meta    api.QueryMeta
	entries entries
}

// unreliable reports whether an answer to a waiting query says nothing of use:
// its index went backwards (the servers lost or restored their state, or the
// answer is older than one we have), or it came early and without news. What is
// true then, a query that does not wait must tell.
func (a answer) unreliable(known uint64) bool {
	return a.asked > 0 && (a.index < max(a.asked, known) || a.index == a.asked && a.elapsed < a.wait)
}

// query asks once.
func (r *Resolver) query(ctx context.Context, t target, q question) (answer, error) {
	a := answer{asked: q.index, leader: q.leader}
	if q.index > 0 {
		// Of our own choice, since all waits that began together would end together.
		a.wait = r.config.wait()*3/4 + rand.N(r.config.wait()/4)
	}
	ctx, cancel := context.WithTimeout(ctx, a.wait*17/16+r.config.timeout())
	defer cancel()

	options, err := r.options(ctx, t)
	if err != nil {
		return answer{}, err
	}
	options.WaitIndex, options.WaitTime = a.asked, a.wait
	options.AllowStale, options.RequireConsistent = !q.leader, q.leader
	a.token = options.Token != ""

	began := time.Now()
	meta, err := r.client.Raw().Query("/v1/health/service/"+t.service, new(struct{}), options.WithContext(decodeInto(ctx, &a.entries)))
	if err != nil {
		return answer{}, err
	}
	a.elapsed, a.index, a.meta = time.Since(began), meta.LastIndex, *meta
	return a, nil
}

// options are those of every query. Stale reads, which are the rule, go on
// while the servers have no leader, and spread over all of them.
func (r *Resolver) options(ctx context.Context, t target) (*api.QueryOptions, error) {
	token, err := r.token(ctx)
	if err != nil {
		return nil, err
	}
	datacenter := t.datacenter
	if datacenter == "" {
		datacenter = r.config.Datacenter
	}
	options := &api.QueryOptions{AllowStale: true, Datacenter: datacenter, Filter: r.filter, Token: token}
	return options.WithContext(ctx), nil
}

// flight is a query under way. A nil one has landed, and never ends.
type flight struct {
	asked  uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when answer and err stand
	answer answer
	err    error
}

// fly starts a query. Its land must be called unless it has ended.
func (r *Resolver) fly(ctx context.Context, t target, q question) *flight {
	ctx, cancel := context.WithCancel(ctx)
	f := &flight{asked: q.index, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		defer close(f.done)
		f.answer, f.err = r.query(ctx, t, q)
	}()
	return f
}

// land ends the query and waits until it has.
func (f *flight) land() {
	if f != nil {
		f.cancel()
		<-f.done
	}
}

// ended is closed when answer and err stand.
func (f *flight) ended() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.done
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// failure says of which service err tells.
func failure(t target, err error) error {
	return fmt.Errorf("consul: %v: %w", t, err)
}
