package consul

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/consul/api"
)

// GRPCCheck makes the agent ask the endpoint's gRPC health service
// (grpc.health.v1): SERVING is passing, all else is critical. The zero value
// asks the endpoint's address about the server as a whole. The server has to
// offer that service, as google.golang.org/grpc/health does.
type GRPCCheck struct {
	// Service that the health service is asked about. Empty means the server as
	// a whole.
	Service string

	// Addr that the agent asks, as host:port. Empty means the endpoint's.
	Addr string

	// TLS makes the agent use TLS. The certificate must be valid for
	// TLSServerName, or for Addr's host where that is empty; TLSSkipVerify
	// takes any. Which authorities the agent trusts is its own configuration.
	TLS           bool
	TLSSkipVerify bool
	TLSServerName string

	// Interval between two questions, from 1 s to 1 h. Zero means 5 s.
	Interval time.Duration

	// Timeout of one question, from 10 ms to 1 min. Zero means 1 s.
	Timeout time.Duration

	// SuccessBeforePassing and FailuresBeforeCritical are how many results in a
	// row it takes to change the check's status, at most 100. Zero means 1.
	SuccessBeforePassing   int
	FailuresBeforeCritical int
}

func (c GRPCCheck) polling() polling {
	return polling{"GRPCCheck", c.Addr, c.Interval, c.Timeout, c.SuccessBeforePassing, c.FailuresBeforeCritical}
}

func (c GRPCCheck) kind() string { return "grpc" }

func (c GRPCCheck) validate() error {
	return errors.Join(c.polling().validate(), c.validateService())
}

func (c GRPCCheck) validateService() error {
	if strings.ContainsFunc(c.Service, func(r rune) bool { return r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return fmt.Errorf("consul: GRPCCheck.Service is %q, want the name of a gRPC service without slashes and blanks, or nothing meaning the whole server", c.Service)
	}
	return nil
}

func (c GRPCCheck) define(addr string) *api.AgentServiceCheck {
	check := c.polling().define()
	check.GRPC = c.polling().target(addr)
	if c.Service != "" {
		check.GRPC += "/" + c.Service
	}
	check.GRPCUseTLS, check.TLSSkipVerify, check.TLSServerName = c.TLS, c.TLSSkipVerify, c.TLSServerName
	return check
}
