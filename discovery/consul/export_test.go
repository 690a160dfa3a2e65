package consul

import (
	"context"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
)

// Decode decodes one answer of the health endpoint.
func Decode(data []byte) (endpoints []discovery.Endpoint, problems []string, err error) {
	var in entries
	err = in.decode(data)
	return in.endpoints, in.problems, err
}

// DecodeHealth decodes what an agent says of a service's checks.
func DecodeHealth(data []byte) (map[string]string, error) {
	h := make(health)
	err := h.decode(data)
	statuses := make(map[string]string, len(h))
	for id, v := range h {
		statuses[id] = v.status
	}
	return statuses, err
}

// SetLostFor sets how long an empty registry whose index fell is an error.
func SetLostFor(r *Resolver, d time.Duration) { r.lostFor = d }

// ParseName returns what a service's name stands for.
func ParseName(name string) (service, datacenter string, err error) {
	t, err := parseName(name)
	return t.service, t.datacenter, err
}

// Define returns what the agent would be told of an endpoint.
func Define(r *Registrar, service string, e discovery.Endpoint) (*api.AgentServiceRegistration, error) {
	d, err := r.define(service, e)
	if err != nil {
		return nil, err
	}
	return d.with(verdict{}, nil, ""), nil
}

// Asker asks a TTLCheck's Ready.
type Asker struct{ asker *asker }

func NewAsker(c TTLCheck) Asker { return Asker{newAsker(c)} }

// Ask returns what Ready says now, or false if ctx has ended before.
func (a Asker) Ask(ctx context.Context, late func()) (status, output string, ok bool) {
	v, ok := a.asker.ask(ctx, late)
	return v.status, v.output, ok
}

// Failures counts those in a row.
type Failures = failures

// Pace is the limit on a watch's queries.
type Pace = pace

var (
	PaceWait    = (*pace).wait
	PaceArrived = (*pace).arrived
	PaceRefund  = (*pace).refund
	Backoff     = backoff

	FailuresBackoff = (*failures).backoff
)

const (
	PaceBurst   = paceBurst
	PaceEvery   = paceEvery
	LargeAnswer = largeAnswer
	BackoffMax  = backoffMax
	MaxAnswer   = maxAnswer
)
