package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// ErrDenied is yielded by a Watch in place of an empty snapshot that may come
// of a missing ACL right. Consul answers a reader without service:read on the
// service and node:read on its nodes as if there were no entries.
var ErrDenied = errors.New("the empty answer may come of a missing ACL right (service:read and node:read)")

var (
	errNoIndex  = errors.New("the empty answer bears no X-Consul-Index")
	errNoLeader = errors.New("the empty answer comes from a server that knows no leader")
)

// doubt returns why an empty answer to a query that did not wait is not to be
// obeyed, or nil.
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
