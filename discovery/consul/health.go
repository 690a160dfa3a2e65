package consul

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"github.com/hashicorp/consul/api"
)

// health is what the agent says of a service's checks, each by its ID.
type health map[string]verdict

// decode adds what is in an answer, but for a status that no check can begin
// with. JSON of somebody between us and the agent, such as a proxy's error, is no
// answer.
func (h health) decode(data []byte) error {
	var in struct {
		AggregatedStatus string
		Checks           []struct{ CheckID, Status, Output string }
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.AggregatedStatus == "" {
		return errors.New("the answer says nothing of the service's health")
	}
	for _, check := range in.Checks {
		switch check.Status {
		case api.HealthPassing, api.HealthWarning, api.HealthCritical:
			h[check.CheckID] = verdict{check.Status, clip(check.Output)}
		}
	}
	return nil
}

// tellsHealth reports whether an answer says how a service is, with a status
// code that elsewhere means a failure.
func tellsHealth(resp *http.Response) bool {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && media == "application/json"
}
