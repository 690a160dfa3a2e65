package consul

import (
	"encoding/json"

	"github.com/fairlead-go/fairlead/discovery"
)

// Decode decodes one answer of the health endpoint.
func Decode(data []byte) (endpoints []discovery.Endpoint, problems []string, err error) {
	var in entries
	err = json.Unmarshal(data, &in)
	return in.endpoints, in.problems, err
}

// ParseName returns what a service's name stands for.
func ParseName(name string) (service, datacenter string, err error) {
	t, err := parseName(name)
	return t.service, t.datacenter, err
}

// Pace is the limit on a watch's queries.
type Pace = pace

var (
	PaceWait    = (*pace).wait
	PaceArrived = (*pace).arrived
	PaceRefund  = (*pace).refund
	Backoff     = backoff
)

const (
	PaceBurst   = paceBurst
	PaceEvery   = paceEvery
	LargeAnswer = largeAnswer
	BackoffMax  = backoffMax
	MaxAnswer   = maxAnswer
)
