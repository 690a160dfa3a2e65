package consul

import (
	"context"
	"errors"
	"net/http"
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
// The agent gives a check that it knows the status it had. Where nobody kept
// the endpoint until now, that may be the end of an earlier process, so an
// endpoint which is critical begins anew.
func (a *agent) register(ctx context.Context, token string, s *api.AgentServiceRegistration, fresh bool) error {
	known, err := a.client.Agent().ChecksWithFilterOpts("ServiceID == "+quote(s.ID), (&api.QueryOptions{Token: token}).WithContext(ctx))
	if err != nil {
		return err
	}
	if m := known[api.ServiceMaintPrefix+s.ID]; m != nil {
		s.Checks = append(s.Checks, maintenance(m.CheckID, m.Notes))
	}
	if fresh && critical(known) {
		if err := a.deregister(ctx, s.ID); err != nil {
			return err
		}
	}
	return a.client.Agent().ServiceRegisterOpts(s, api.ServiceRegisterOpts{ReplaceExistingChecks: true, Token: token}.WithContext(ctx))
}

// critical reports whether a check other than maintenance is.
func critical(checks map[string]*api.AgentCheck) bool {
	for id, check := range checks {
		if check.Status == api.HealthCritical && !strings.HasPrefix(id, api.ServiceMaintPrefix) {
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

// look returns nil if the agent knows the service.
func (a *agent) look(ctx context.Context, id string) error {
	options, err := a.options(ctx)
	if err != nil {
		return err
	}
	_, _, err = a.client.Agent().Service(id, options)
	return err
}

// unknown reports whether the agent said that it does not know what it was
// asked about.
func unknown(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
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
