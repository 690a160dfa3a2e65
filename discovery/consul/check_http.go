package consul

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/net/http/httpguts"
)

// HTTPCheck makes the agent ask the endpoint by HTTP: a status of 2xx is
// passing, 429 is warning, and any other or no answer is critical. The zero
// value asks GET / of the endpoint's address, which many servers answer with 404:
// name a Path that says whether the server is well.
type HTTPCheck struct {
	// Path begins with a slash and may have a query. Empty means "/".
	Path string

	// Method of the request. Empty means GET.
	Method string

	// Addr that the agent asks, as host:port. Empty means the endpoint's.
	Addr string

	// Header fields of the request.
	Header map[string][]string

	// TLS makes the request https. The certificate must be valid for
	// TLSServerName, or for Addr's host where that is empty; TLSSkipVerify
	// takes any. Which authorities the agent trusts is its own configuration.
	TLS           bool
	TLSSkipVerify bool
	TLSServerName string

	// Interval between two requests, from 1 s to 1 h. Zero means 5 s.
	Interval time.Duration

	// Timeout of one request, from 10 ms to 1 min. Zero means 1 s.
	Timeout time.Duration

	// SuccessBeforePassing and FailuresBeforeCritical are how many results in a
	// row it takes to change the check's status, at most 100. Zero means 1.
	SuccessBeforePassing   int
	FailuresBeforeCritical int
}

func (c HTTPCheck) polling() polling {
	return polling{"HTTPCheck", c.Addr, c.Interval, c.Timeout, c.SuccessBeforePassing, c.FailuresBeforeCritical}
}

func (c HTTPCheck) kind() string { return "http" }

func (c HTTPCheck) validate() error {
	return errors.Join(c.polling().validate(), c.validatePath(), c.validateMethod(), c.validateHeader())
}

func (c HTTPCheck) validatePath() error {
	if c.Path == "" {
		return nil
	}
	if _, err := url.ParseRequestURI(c.Path); err != nil || !strings.HasPrefix(c.Path, "/") || strings.Contains(c.Path, "#") {
		return fmt.Errorf("consul: HTTPCheck.Path is %q, want a path that begins with a slash, or nothing meaning \"/\"", c.Path)
	}
	return nil
}

func (c HTTPCheck) validateMethod() error {
	if c.Method != "" && !httpguts.ValidHeaderFieldName(c.Method) {
		return fmt.Errorf("consul: HTTPCheck.Method is %q, want a method of HTTP, or nothing meaning GET", c.Method)
	}
	return nil
}

func (c HTTPCheck) validateHeader() error {
	for name, values := range c.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("consul: HTTPCheck.Header has a field %q, want the name of an HTTP header field", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("consul: HTTPCheck.Header[%q] holds a character that no HTTP header may carry, want no control characters", name)
			}
		}
	}
	return nil
}

func (c HTTPCheck) define(addr string) *api.AgentServiceCheck {
	check := c.polling().define()
	scheme := "http"
	if c.TLS {
		scheme = "https"
	}
	check.HTTP = scheme + "://" + c.polling().target(addr) + cmp.Or(c.Path, "/")
	check.Method = cmp.Or(c.Method, http.MethodGet)
	check.Header = http.Header(c.Header).Clone()
	check.TLSSkipVerify, check.TLSServerName = c.TLSSkipVerify, c.TLSServerName
	return check
}
