package consul

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
)

// answer is what Consul said to one query with status 200.
type answer struct {
	asked   uint64        // the index the query gave; 0: it did not wait
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

// query asks once. An index of 0 asks for an answer at once, any other for one
// when Consul's index has passed it.
func (r *Resolver) query(ctx context.Context, t target, index uint64) (answer, error) {
	a := answer{asked: index}
	if index > 0 {
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
	a.token = options.Token != ""

	began := time.Now()
	meta, err := r.client.Raw().Query("/v1/health/service/"+t.service, &a.entries, options)
	if err != nil {
		return answer{}, err
	}
	a.elapsed, a.index, a.meta = time.Since(began), meta.LastIndex, *meta
	return a, nil
}

// options are those of every query. Stale reads go on while the servers have
// no leader, and spread over all of them.
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

// flight is a waiting query under way.
type flight struct {
	asked  uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when answer and err stand
	answer answer
	err    error
}

// fly starts a waiting query. Its land must be called.
func (r *Resolver) fly(ctx context.Context, t target, index uint64) *flight {
	ctx, cancel := context.WithCancel(ctx)
	f := &flight{asked: index, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.answer, f.err = r.query(ctx, t, index)
	}()
	return f
}

// land ends the query and waits until it has.
func (f *flight) land() {
	f.cancel()
	<-f.done
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
