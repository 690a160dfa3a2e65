package consul

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// agent is what a Registrar has to say to the agent. Every request has a token
// of its own.
type agent struct {
	client *api.Client
	token  tokenSource
}

func (a *agent) options(ctx context.Context) (*api.QueryOptions, error) {
	token, err := a.token(ctx)
	if err != nil {
		return nil, err
	}
	return (&api.QueryOptions{Token: token}).WithContext(ctx), nil
}

// register makes s all that the agent knows of a service ID: checks that are
// not among its own go, but for the maintenance that an operator asked for.
//
// The agent could remove those checks by itself, and would remove the operator's
// with them unless it were part of s. But then one that the operator has ended
// since it was read would come back for good, and one begun since would go.
//
// The agent gives a check that it knows the status it had. Where nobody kept
// the endpoint until now, that may be the end of an earlier process, so an
// endpoint which is critical begins anew. Only then s has to carry the
// operator's maintenance, and what the operator does between the reading and
// the registration, a few milliseconds, is undone.
func (a *agent) register(ctx context.Context, token string, s *api.AgentServiceRegistration, fresh bool) error {
	known, err := a.client.Agent().ChecksWithFilterOpts("ServiceID == "+quote(s.ID), (&api.QueryOptions{Token: token}).WithContext(ctx))
	if err != nil {
		return err
	}
	if fresh && critical(known) {
		if m := known[api.ServiceMaintPrefix+s.ID]; m != nil {
			s.Checks = append(s.Checks, maintenance(m.CheckID, m.Notes))
		}
		if err := a.deregister(ctx, s.ID); err != nil {
			return err
		}
		known = nil
	}
	if err := a.client.Agent().ServiceRegisterOpts(s, api.ServiceRegisterOpts{Token: token}.WithContext(ctx)); err != nil {
		return err
	}
	return a.prune(ctx, token, s, known)
}

// prune removes the checks of s's service ID that are not s's, nor an operator's
// maintenance.
func (a *agent) prune(ctx context.Context, token string, s *api.AgentServiceRegistration, known map[string]*api.AgentCheck) error {
	for id, check := range known {
		own := slices.ContainsFunc(s.Checks, func(c *api.AgentServiceCheck) bool { return c.CheckID == id })
		if own || id == api.ServiceMaintPrefix+s.ID || check == nil || check.ServiceID != s.ID {
			continue
		}
		if err := a.client.Agent().CheckDeregisterOpts(id, (&api.QueryOptions{Token: token}).WithContext(ctx)); err != nil && !unknown(err) {
			return err
		}
	}
	return nil
}

// critical reports whether a check other than maintenance is.
func critical(checks map[string]*api.AgentCheck) bool {
	for id, check := range checks {
		if check != nil && check.Status == api.HealthCritical && !strings.HasPrefix(id, api.ServiceMaintPrefix) {
			return true
		}
	}
	return false
}

// deregister takes a service out. One that the agent does not know is no error.
func (a *agent) deregister(ctx context.Context, id string) error {
	options, err := a.options(ctx)
	if err != nil {
		return err
	}
	if err := a.client.Agent().ServiceDeregisterOpts(id, options); err != nil && !unknown(err) {
		return err
	}
	return nil
}

// beat renews a TTL check.
func (a *agent) beat(ctx context.Context, check string, v verdict) error {
	options, err := a.options(ctx)
	if err != nil {
		return err
	}
	return a.client.Agent().UpdateTTLOpts(check, v.output, v.status, options)
}

// look returns how the service is, if the agent knows it. It needs no right but
// to read the service.
func (a *agent) look(ctx context.Context, id string) (health, error) {
	options, err := a.options(ctx)
	if err != nil {
		return nil, err
	}
	h := make(health)
	_, err = a.client.Raw().Query("/v1/agent/health/service/id/"+id, new(struct{}), options.WithContext(decodeInto(ctx, h)))
	return h, err
}

// unknown reports whether the agent said that it does not know what it was
// asked about.
func unknown(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// unreachable reports whether nobody took the connection.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// maintenance is a check that Consul takes for its maintenance mode, which goes
// by the check's ID. It never expires: a check of the kind that Consul itself
// makes cannot be part of a registration.
func maintenance(id, reason string) *api.AgentServiceCheck {
	return &api.AgentServiceCheck{
		CheckID: id,
		Name:    "Service Maintenance Mode",
		Notes:   reason,
		TTL:     "87600h",
		Status:  api.HealthCritical,
	}
}
