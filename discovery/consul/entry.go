package consul

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/fairlead-go/fairlead/discovery"
)

// MetadataTags is the key under which an endpoint's Metadata holds the tags of
// the entry, joined by commas. No key of Consul's own metadata has a dot.
const MetadataTags = "consul.tags"

// entry is the part of one element of /v1/health/service/:service that is
// used. Consul sends about ten times as much.
type entry struct {
	Node struct {
		Node      string
		Address   string
		Partition string
		Locality  locality
		Meta      place
	}
	Service struct {
		ID        string
		Address   string
		Port      int
		Tags      []string
		Meta      map[string]string
		Weights   weights
		Locality  locality
		PeerName  string
		Partition string
	}
	Checks []check
}

type locality struct{ Region, Zone string }

// place are the two keys of a node's metadata that are used.
type place struct {
	Region string `json:"region"`
	Zone   string `json:"zone"`
}

type weights struct{ Passing, Warning int }

type check struct{ CheckID, Status string }

// reset prepares e for the next element. A weight that the element does not
// have is 1; the JSON decoder would see old elements through an emptied slice.
func (e *entry) reset() {
	checks := e.Checks[:cap(e.Checks)]
	clear(checks)
	*e = entry{Checks: checks[:0]}
	e.Service.Weights = weights{Passing: 1, Warning: 1}
}

// id is what Consul itself tells entries apart by, in little space:
// "node/service-id", and "partition@peer@node/service-id" for those of another
// partition or peer.
func (e *entry) id() string {
	id := idPart.Replace(e.Node.Node) + "/" + e.Service.ID
	partition := e.Service.Partition
	if partition == "" {
		partition = e.Node.Partition
	}
	if partition == "default" {
		partition = ""
	}
	if partition == "" && e.Service.PeerName == "" {
		return id
	}
	return idPart.Replace(partition) + "@" + idPart.Replace(e.Service.PeerName) + "@" + id
}

var idPart = strings.NewReplacer("%", "%25", "/", "%2F", "@", "%40")

// state is the worst of the checks, and whether the entry or its node is in
// maintenance. Maintenance is a critical check to Consul, but a wish of the
// operator's and no sickness.
func (e *entry) state() (status string, maintenance bool) {
	status = "passing"
	for _, c := range e.Checks {
		switch {
		case c.CheckID == "_node_maintenance" || strings.HasPrefix(c.CheckID, "_service_maintenance"):
			maintenance = true
		case c.Status == "critical":
			status = c.Status
		case c.Status == "warning" && status == "passing":
			status = c.Status
		}
	}
	return status, maintenance
}

// endpoint returns what e stands for, nil if it is critical, or an error if it
// is malformed.
func (e *entry) endpoint() (*discovery.Endpoint, error) {
	if e.Service.ID == "" || e.Node.Node == "" {
		return nil, errors.New("it has no service ID or no node")
	}
	status, maintenance := e.state()
	if status == "critical" {
		return nil, nil
	}
	weight := e.Service.Weights.Passing
	if status == "warning" {
		weight = e.Service.Weights.Warning
	}
	drain := maintenance || weight == 0
	if weight == 0 {
		weight = 1
	}
	region, zone := e.place()
	endpoint := &discovery.Endpoint{
		ID:       e.id(),
		Addr:     e.addr(),
		Weight:   weight,
		Drain:    drain,
		Region:   region,
		Zone:     zone,
		Metadata: e.metadata(),
	}
	return endpoint, endpoint.Validate()
}

func (e *entry) addr() string {
	host := e.Service.Address
	if host == "" {
		host = e.Node.Address
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(e.Service.Port))
}

// place is where the entry runs, by the first that says so: its locality,
// its node's, its metadata, its node's.
func (e *entry) place() (region, zone string) {
	for _, l := range []locality{
		e.Service.Locality,
		e.Node.Locality,
		{e.Service.Meta["region"], e.Service.Meta["zone"]},
		locality(e.Node.Meta),
	} {
		if l != (locality{}) {
			return l.Region, l.Zone
		}
	}
	return "", ""
}

func (e *entry) metadata() map[string]string {
	m := e.Service.Meta
	if len(e.Service.Tags) > 0 {
		if m == nil {
			m = make(map[string]string, 1)
		}
		m[MetadataTags] = strings.Join(e.Service.Tags, ",")
	}
	return m
}
