package consul

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
)

// Consul's limits.
const (
	maxLabel     = 63 // of a name in DNS
	maxID        = 512
	maxWeight    = 65_535
	maxPairs     = 64
	maxMetaKey   = 128
	maxMetaValue = 512
)

const drainReason = "its process asked for no new calls"

// definition is an endpoint as the agent is told of it. It is never changed.
type definition struct {
	full  api.AgentServiceRegistration
	heart string // ID of the TTL check, or ""
}

func (d definition) service() string { return d.full.Name }
func (d definition) id() string      { return d.full.ID }

// with returns a copy for one request, in which the TTL check begins with v, the
// others begin as seen, or passing, and each check bears notes. The agent heeds
// that of a check which it does not know.
func (d definition) with(v verdict, seen health, notes string) *api.AgentServiceRegistration {
	s := d.full
	s.Checks = make(api.AgentServiceChecks, len(d.full.Checks))
	for i, check := range d.full.Checks {
		c := *check
		if was, known := seen[c.CheckID]; known {
			c.Status = was.status
		}
		if c.CheckID == d.heart {
			c.Status = v.status
		}
		if c.Notes == "" {
			c.Notes = notes
		}
		s.Checks[i] = &c
	}
	return &s
}

// define returns what the agent is told of e, or an error that says what
// Consul could not hold.
func (r *Registrar) define(service string, e discovery.Endpoint) (definition, error) {
	name, err := registrable(service)
	if err != nil {
		return definition{}, err
	}
	if err := e.Validate(); err != nil {
		return definition{}, err
	}
	host, port, err := splitAddr(e.Addr)
	if err := errors.Join(err, validateWeight(e)); err != nil {
		return definition{}, err
	}
	id := e.ID
	if id == "" {
		id = name + "-" + e.Addr
	}
	meta, tags, place, err := describe(e)
	if err := errors.Join(validateID(id), err); err != nil {
		return definition{}, err
	}
	d := definition{full: api.AgentServiceRegistration{
		ID: id, Name: name, Address: host, Port: port,
		Tags: tags, Meta: meta, Locality: place,
		Weights: &api.AgentWeights{Passing: e.EffectiveWeight(), Warning: 1},
		Checks:  r.defineChecks(id, e),
	}}
	if r.heart != nil {
		d.heart = r.heartID(id)
	}
	return d, nil
}

// defineChecks returns the checks of one endpoint. One that drains has one more,
// whose ID differs from that of the maintenance which an operator asks for.
func (r *Registrar) defineChecks(id string, e discovery.Endpoint) api.AgentServiceChecks {
	var checks api.AgentServiceChecks
	for i, c := range r.checks {
		check := c.define(e.Addr)
		check.CheckID = checkID(id, i, c)
		check.Status = api.HealthPassing
		check.DeregisterCriticalServiceAfter = r.config.deregisterAfter()
		checks = append(checks, check)
	}
	if e.Drain {
		checks = append(checks, maintenance(api.ServiceMaintPrefix+id+":drain", drainReason))
	}
	return checks
}

// heartID is the ID of the TTL check of a service ID.
func (r *Registrar) heartID(id string) string {
	for i, c := range r.checks {
		if _, ok := c.(TTLCheck); ok {
			return checkID(id, i, c)
		}
	}
	return ""
}

// checkID is the same in every process with the same checks, so that two which
// overlap under one service ID do not undo each other's checks.
func checkID(id string, i int, c Check) string {
	return fmt.Sprintf("service:%s:%s-%d", id, c.kind(), i+1)
}

// registrable returns the service that a name stands for, if the agent can
// register it.
func registrable(name string) (string, error) {
	t, err := parseName(name)
	switch {
	case err != nil:
		return "", err
	case t.datacenter != "":
		return "", fmt.Errorf("consul: the name %q says datacenter %q, but an agent registers in its own: leave the datacenter out", name, t.datacenter)
	case strings.Contains(t.service, "."):
		return "", fmt.Errorf("consul: the service's name is %q, want no dot in a name to register: Consul's DNS would not find it", name)
	case len(t.service) > maxLabel:
		return "", fmt.Errorf("consul: the service's name %q has %d characters, want at most %d to register: Consul's DNS would not find it", name, len(t.service), maxLabel)
	}
	return t.service, nil
}

// splitAddr parts a valid address. It refuses those that one listens at but
// nobody can call, and those that come back from Consul, which holds host and
// port, in another spelling.
func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, err
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().WithZone("").IsUnspecified() {
		return "", 0, fmt.Errorf("consul: endpoint Addr is %q, want the address at which others reach it, not the unspecified one", addr)
	}
	if net.JoinHostPort(host, strconv.Itoa(port)) != addr || strings.ContainsAny(host, "[]") || !utf8.ValidString(host) {
		return "", 0, fmt.Errorf("consul: endpoint Addr is %q, want it as net.JoinHostPort spells it", addr)
	}
	return host, port, nil
}

func validateWeight(e discovery.Endpoint) error {
	if e.Weight > maxWeight {
		return fmt.Errorf("consul: endpoint %q: Weight is %d, want at most %d in Consul", e.Identity(), e.Weight, maxWeight)
	}
	return nil
}

// validateID refuses IDs that no path of the agent's API can carry.
func validateID(id string) error {
	switch {
	case len(id) > maxID:
		return fmt.Errorf("consul: the endpoint's ID %q… has %d bytes, want at most %d", id[:32], len(id), maxID)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("consul: the endpoint's ID is %q, want printable characters only", id)
	case path.Clean("/"+id) != "/"+id:
		return fmt.Errorf("consul: the endpoint's ID is %q, want no empty part, \".\" or \"..\" between slashes", id)
	case quote(id) == "":
		return fmt.Errorf("consul: the endpoint's ID is %q, want no backquote beside a double quote or a backslash: Consul's filters cannot say it", id)
	}
	return nil
}

// describe returns what Consul holds of an endpoint's metadata and place, so
// that [Resolver] reads the same: a region goes into the locality, and a zone
// alone, for which Consul has no place there, into the metadata.
func describe(e discovery.Endpoint) (meta map[string]string, tags []string, place *api.Locality, err error) {
	meta = maps.Clone(e.Metadata)
	if joined := meta[MetadataTags]; joined != "" {
		tags = strings.Split(joined, ",")
	}
	delete(meta, MetadataTags)
	switch {
	case e.Region != "":
		place = &api.Locality{Region: e.Region, Zone: e.Zone}
	case e.Zone != "":
		if meta == nil {
			meta = make(map[string]string, 1)
		}
		meta["zone"] = e.Zone
	}
	return meta, tags, place, errors.Join(validateMeta(meta), validateOwnTags(tags), validatePlace(e))
}

func validateMeta(meta map[string]string) error {
	if len(meta) > maxPairs {
		return fmt.Errorf("consul: the endpoint's Metadata has %d keys, want at most %d", len(meta), maxPairs)
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		errs = append(errs, validatePair(key, meta[key]))
	}
	return errors.Join(errs...)
}

func validatePair(key, value string) error {
	switch {
	case key == "" || len(key) > maxMetaKey || !validChars(strings.ToLower(key), "-_") || !isASCII(key):
		return fmt.Errorf("consul: the endpoint's Metadata has a key %.200q, want letters, digits, '-' and '_', from 1 to %d of them", key, maxMetaKey)
	case strings.HasPrefix(key, "consul-"):
		return fmt.Errorf("consul: the endpoint's Metadata has a key %q, want one that does not begin with \"consul-\", which is Consul's", key)
	case len(value) > maxMetaValue:
		return fmt.Errorf("consul: the endpoint's Metadata[%q] has %d bytes, want at most %d", key, len(value), maxMetaValue)
	case !utf8.ValidString(value):
		return fmt.Errorf("consul: the endpoint's Metadata[%q] is %q, want UTF-8", key, value)
	}
	return nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func validateOwnTags(tags []string) error {
	for _, tag := range tags {
		if tag == "" || !utf8.ValidString(tag) {
			return fmt.Errorf("consul: the endpoint's Metadata[%q] is %q, want tags of UTF-8 with one comma between two", MetadataTags, strings.Join(tags, ","))
		}
	}
	return nil
}

func validatePlace(e discovery.Endpoint) error {
	if zone, found := e.Metadata["zone"]; found && e.Region == "" && e.Zone != "" && zone != e.Zone {
		return fmt.Errorf("consul: endpoint %q: Zone is %q and Metadata[\"zone\"] is %q, want one of them, or a Region too", e.Identity(), e.Zone, zone)
	}
	if !utf8.ValidString(e.Region) || !utf8.ValidString(e.Zone) {
		return fmt.Errorf("consul: endpoint %q: Region is %q and Zone is %q, want UTF-8", e.Identity(), e.Region, e.Zone)
	}
	return nil
}
