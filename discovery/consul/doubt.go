package consul

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// ErrDenied is yielded by a Watch in place of an empty snapshot that may come
// of a missing ACL right. Consul answers a reader without service:read on the
// service and node:read on its nodes as if there were no entries.
var ErrDenied = errors.New("the empty answer may come of a missing ACL right (service:read and node:read)")

var (
	errNoIndex  = errors.New("the empty answer bears no X-Consul-Index")
	errNoLeader = errors.New("the empty answer comes from a server that knows no leader")
	errLost     = errors.New("the empty answer is older than what is known: the registry lost its state")
)

// lostFor is how long an empty registry is not believed to be empty by
// anybody's wish if its index fell. Whoever it lost registers again meanwhile.
const lostFor = 30 * time.Second

// doubt returns why the leader's empty answer is not to be obeyed, or nil.
func (w *watch) doubt(ctx context.Context, a answer) error {
	if err := w.resolver.doubt(ctx, w.target, a); err != nil {
		return err
	}
	if w.last == nil || len(w.last.Endpoints) == 0 || w.lost.IsZero() && a.index >= w.known {
		return nil
	}
	if w.lost.IsZero() || a.index < w.lostAt { // for the first time, or once more
		w.lost = time.Now()
	}
	w.lostAt = a.index
	if time.Since(w.lost) < w.resolver.lostFor {
		return errLost
	}
	return nil
}

// doubt returns why an empty answer is not proof that there are no entries, or
// nil.
//
// Consul marks what it filtered, but not for the anonymous token, and never on
// the streams behind waiting queries. So where the default policy is to deny, an
// unmarked answer is proof only if the query had a token: ours, or the agent's
// default one.
func (r *Resolver) doubt(ctx context.Context, t target, a answer) error {
	switch {
	case a.meta.ResultsFilteredByACLs:
		return ErrDenied
	case a.index == 0:
		return errNoIndex
	case !a.meta.KnownLeader && a.meta.QueryBackend == api.QueryBackendBlockingQuery:
		return errNoLeader
	case a.meta.DefaultACLPolicy != "deny" || a.token:
		return nil
	}
	authenticated, err := r.authenticated(ctx, t)
	if err == nil && !authenticated {
		err = fmt.Errorf("%w: the query had no token, and the agent denies by default", ErrDenied)
	}
	return err
}

// authenticated reports whether the agent adds a token of its own to our queries.
func (r *Resolver) authenticated(ctx context.Context, t target) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.timeout())
	defer cancel()
	options, err := r.options(ctx, t)
	if err != nil {
		return false, err
	}
	_, _, err = r.client.ACL().TokenReadSelf(options)
	var status api.StatusError
	if errors.As(err, &status) && status.Code >= 400 && status.Code < 500 {
		return false, nil
	}
	return err == nil, err
}
