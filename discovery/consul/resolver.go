package consul

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/internal/wake"
)

// ErrClosed is yielded by a Watch that was begun after [Resolver.Close].
var ErrClosed = errors.New("consul: the resolver is closed")

// Resolver watches services through a Consul agent. Make one with [New].
// All methods are safe for concurrent use.
type Resolver struct {
	config Config
	filter string
	client *api.Client
	conns  *conns
	token  tokenSource
	wakers wake.Set[target]

	lostFor time.Duration

	closed context.Context // ends when the Resolver is closed
	close  context.CancelFunc
}

var (
	_ discovery.Resolver  = (*Resolver)(nil)
	_ discovery.Refresher = (*Resolver)(nil)
)

// New returns a Resolver, or an error that names what in config (or in the
// CONSUL_* variables) is wrong. It does no network I/O and starts nothing.
func New(config Config) (*Resolver, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	conns := new(conns)
	client, token, err := newClient(config, conns)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	r := &Resolver{config: config, filter: config.filter(), client: client, conns: conns, token: token, lostFor: lostFor}
	r.closed, r.close = context.WithCancel(context.Background())
	return r, nil
}

// Watch yields the service's healthy entries now and after each change,
// until ctx ends or the Resolver is closed.
//
// A service that Consul has no entry of is unknown until the first one
// comes; once entries were seen, their absence is an empty snapshot. A name
// that cannot be one of Consul's is unknown for good, and the error says why.
// Everything else that goes wrong is yielded as an error and tried again after
// a back-off of 30 s at most, so the sequence goes on.
//
// One query is under way at a time, and a second one while [Resolver.Refresh]
// is obeyed, what it asked for is tried again, or the watch looks whether a
// registry that lost its state is still empty.
func (r *Resolver) Watch(ctx context.Context, service string) iter.Seq2[discovery.Snapshot, error] {
	return func(yield func(discovery.Snapshot, error) bool) {
		if ctx.Err() != nil {
			return
		}
		if r.closed.Err() != nil {
			yield(discovery.Snapshot{}, ErrClosed)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.closed, cancel)()

		target, err := parseName(service)
		if err != nil {
			if yield(discovery.Snapshot{Unknown: true}, err) {
				<-ctx.Done()
			}
			return
		}
		woken, remove := r.wakers.Add(target)
		defer remove()
		newWatch(r, target, woken).run(ctx, yield)
	}
}

// Refresh makes the watches of service look again at once, without waiting for
// Consul to tell of a change. It never blocks. A watch that looked less than a
// second ago ignores it or, where it rests after an error, looks when the second
// is over. A look that fails is yielded as an error and
// tried again after a back-off, so that the error ends when all is well.
func (r *Resolver) Refresh(service string) {
	if target, err := parseName(service); err == nil {
		r.wakers.Wake(target)
	}
}

// Close ends all watches and closes the connections to the agent. It does not
// wait for the loops that range over the watches, which end within a second.
// It never fails, and may be called twice.
func (r *Resolver) Close() error {
	r.close()
	r.conns.close()
	return nil
}
