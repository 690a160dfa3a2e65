package discovery_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/fairlead-go/fairlead/discovery"
)

func srv(addr string, weight int, target string) discovery.Endpoint {
	return discovery.Endpoint{Addr: addr, Weight: weight, Metadata: map[string]string{discovery.DNSTarget: target}}
}

// TestDNSAnswers asks a real name server over real sockets.
func TestDNSAnswers(t *testing.T) {
	const service = "_http._tcp.users.test"
	hosts := []string{
		"a.test. 60 IN A 10.0.0.1", "b.test. 60 IN A 10.0.0.2", "c.test. 60 IN A 10.0.0.3",
		"both.test. 60 IN A 10.0.0.4", "both.test. 60 IN AAAA fd00::4", "alias.test. 60 IN CNAME a.test.",
		"blocked.test. 60 IN A 0.0.0.0",
	}
	for _, test := range []struct {
		name    string
		config  discovery.DNSConfig
		records []string
		service string
		want    []discovery.Endpoint
		unknown bool
		warning string // "": none
	}{
		{name: "A", records: []string{"users.test. 60 IN A 10.0.0.2", "users.test. 60 IN A 10.0.0.1"},
			service: "users.test:80", want: discovery.Addrs("10.0.0.1:80", "10.0.0.2:80")},
		{name: "AAAA", records: []string{"users.test. 60 IN AAAA fd00::1"},
			service: "users.test:80", want: discovery.Addrs("[fd00::1]:80")},
		{name: "A and AAAA", records: []string{"users.test. 60 IN AAAA fd00::1", "users.test. 60 IN A 10.0.0.1"},
			service: "users.test:80", want: discovery.Addrs("10.0.0.1:80", "[fd00::1]:80")},
		{name: "A alone", config: discovery.DNSConfig{Network: "ip4"}, service: "both.test:80", want: discovery.Addrs("10.0.0.4:80")},
		{name: "AAAA alone", config: discovery.DNSConfig{Network: "ip6"}, service: "both.test:80", want: discovery.Addrs("[fd00::4]:80")},
		{name: "no AAAA where AAAA alone is wanted", config: discovery.DNSConfig{Network: "ip6"}, service: "a.test:80", unknown: true},
		{name: "CNAME", service: "alias.test:80", want: discovery.Addrs("10.0.0.1:80")},
		{name: "an IPv4 address in an AAAA record", records: []string{"users.test. 60 IN AAAA ::ffff:10.0.0.1", "users.test. 60 IN A 10.0.0.1"},
			service: "users.test:80", want: discovery.Addrs("10.0.0.1:80")},
		{name: "configured port", config: discovery.DNSConfig{Port: 81}, service: "a.test", want: discovery.Addrs("10.0.0.1:81")},
		{name: "the URL's port first", config: discovery.DNSConfig{Port: 81, SRV: true}, service: "a.test:80", want: discovery.Addrs("10.0.0.1:80")},
		{name: "name pattern", config: discovery.DNSConfig{Name: "{}.test", Port: 80}, service: "A", want: discovery.Addrs("10.0.0.1:80")},
		{name: "without a dot", records: []string{"users. 60 IN A 10.0.0.1"}, service: "users:80", want: discovery.Addrs("10.0.0.1:80")},
		{name: "search list allowed", config: discovery.DNSConfig{Search: true}, service: "both.test:80", want: discovery.Addrs("10.0.0.4:80", "[fd00::4]:80")},
		{name: "blocked by a filter", service: "blocked.test:80", warning: "0.0.0.0"},
		{name: "NXDOMAIN", service: "nobody.test:80", unknown: true},
		{name: "NXDOMAIN without a dot", service: "nobody:80", unknown: true},
		{name: "no data", records: []string{`users.test. 60 IN TXT "x"`}, service: "users.test:80", unknown: true},

		{name: "SRV by its name", records: []string{service + ". 60 IN SRV 0 5 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 5, "a.test")}},
		{name: "SRV by a pattern", config: discovery.DNSConfig{Name: "_http._tcp.{}.test"},
			records: []string{service + ". 60 IN SRV 0 5 80 a.test."},
			service: "users", want: []discovery.Endpoint{srv("10.0.0.1:80", 5, "a.test")}},
		{name: "SRV by option", config: discovery.DNSConfig{SRV: true}, records: []string{"users.test. 60 IN SRV 0 65535 80 both.test."},
			service: "users.test", want: []discovery.Endpoint{srv("10.0.0.4:80", 65535, "both.test"), srv("[fd00::4]:80", 65535, "both.test")}},
		{name: "weights", records: []string{
			service + ". 60 IN SRV 0 5 80 a.test.", service + ". 60 IN SRV 0 0 80 b.test.", service + ". 60 IN SRV 0 1 81 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 5, "a.test"), srv("10.0.0.1:81", 1, "a.test"), srv("10.0.0.2:80", 1, "b.test")}},
		{name: "all weights 0", records: []string{service + ". 60 IN SRV 0 0 80 a.test.", service + ". 60 IN SRV 0 0 80 b.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "a.test"), srv("10.0.0.2:80", 1, "b.test")}},
		{name: "lowest priority value", records: []string{
			service + ". 60 IN SRV 20 1 80 a.test.", service + ". 60 IN SRV 10 1 80 b.test.", service + ". 60 IN SRV 10 1 80 c.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.2:80", 1, "b.test"), srv("10.0.0.3:80", 1, "c.test")}},
		{name: "backup whose better is gone", records: []string{service + ". 60 IN SRV 10 1 80 gone.test.", service + ". 60 IN SRV 20 1 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "a.test")}},
		{name: "one target gone", records: []string{service + ". 60 IN SRV 0 1 80 gone.test.", service + ". 60 IN SRV 0 1 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "a.test")}},
		{name: "all targets gone", records: []string{service + ". 60 IN SRV 0 1 80 gone.test."}, service: service},
		{name: "nobody, on purpose", records: []string{service + ". 60 IN SRV 0 0 0 ."}, service: service},
		{name: "target by an alias", records: []string{service + ". 60 IN SRV 0 1 80 alias.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "alias.test")}},
		{name: "one address twice", records: []string{service + ". 60 IN SRV 0 0 80 alias.test.", service + ". 60 IN SRV 0 3 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 4, "a.test")}},
		{name: "port 0", records: []string{service + ". 60 IN SRV 0 1 0 b.test.", service + ". 60 IN SRV 0 1 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "a.test")}, warning: "port 0"},
		{name: "malformed target", records: []string{service + ". 60 IN SRV 0 1 80 10.0.0.9.", service + ". 60 IN SRV 0 1 80 a.test."},
			service: service, want: []discovery.Endpoint{srv("10.0.0.1:80", 1, "a.test")}, warning: "malformed"},
		{name: "SRV that nobody has", service: service, unknown: true},
		{name: "no SRV data", config: discovery.DNSConfig{SRV: true}, service: "a.test", unknown: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			test.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			test.config.Resolver = newNameserver(t, append(test.records, hosts...)...).serve()
			test.config.Interval = 100 * time.Millisecond
			f := followDNS(t, discovery.DNS(test.config), test.service)
			got := f.next("snapshot")
			if got.err != nil || got.Unknown != test.unknown {
				t.Fatalf("unknown %v, %v, want unknown %v", got.Unknown, got.err, test.unknown)
			}
			if diff := cmp.Diff(test.want, append([]discovery.Endpoint(nil), got.Endpoints...)); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			f.quiet(250 * time.Millisecond)
			f.stop()
			if warnings := strings.Count(log.String(), "level=WARN"); warnings != min(1, len(test.warning)) || !strings.Contains(log.String(), test.warning) {
				t.Errorf("logged, want %q once:\n%s", test.warning, log.String())
			}
		})
	}
}

// TestDNSFollows walks a service through its life.
func TestDNSFollows(t *testing.T) {
	n := newNameserver(t)
	r := discovery.DNS(discovery.DNSConfig{Resolver: n.serve(), Interval: 100 * time.Millisecond})
	f := followDNS(t, r, "users.test:80")
	if e := f.next("unknown"); !e.Unknown || e.err != nil {
		t.Fatalf("got %+v, %v, want Unknown", e.Snapshot, e.err)
	}
	for _, step := range []struct {
		records []string
		want    string
	}{
		{[]string{"users.test. 0 IN A 10.0.0.1"}, "10.0.0.1:80"},
		{[]string{"users.test. 0 IN A 10.0.0.1", "users.test. 0 IN A 10.0.0.2"}, "10.0.0.1:80 10.0.0.2:80"},
		{[]string{"users.test. 0 IN AAAA fd00::1"}, "[fd00::1]:80"},
		{nil, ""},
		{[]string{"users.test. 0 IN A 10.0.0.3"}, "10.0.0.3:80"},
		{[]string{`users.test. 0 IN TXT "x"`}, ""},
	} {
		n.set(step.records...)
		f.wants(step.want)
	}
}

// 200 records do not fit into a datagram.
func TestDNSManyRecordsComeOverTCP(t *testing.T) {
	var records, want []string
	for i := range 200 {
		records = append(records,
			fmt.Sprintf("users.test. 60 IN SRV 0 1 80 user-with-a-long-name-%d.test.", i),
			fmt.Sprintf("user-with-a-long-name-%d.test. 60 IN A 10.0.0.%d", i, i+1))
		want = append(want, fmt.Sprintf("10.0.0.%d:80", i+1))
	}
	n := newNameserver(t, records...)
	n.fault(question{"", dns.TypeA}, func(n *nameserver, network string, q *dns.Msg) []byte {
		time.Sleep(5 * time.Millisecond) // so that they overlap
		return fromZone(n, network, q)
	})
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{SRV: true, Resolver: n.serve(), Interval: time.Hour}), "users.test")
	f.wants(strings.Join(want, " "))
	var networks []string
	for _, q := range n.queries(dns.TypeSRV) {
		networks = append(networks, q.network)
	}
	if diff := cmp.Diff([]string{"udp", "tcp"}, networks); diff != "" {
		t.Errorf("SRV was asked over (-want +got):\n%s", diff)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flown < 2 || n.flown > 8 {
		t.Errorf("%d questions at a time, want several and at most 8", n.flown)
	}
}

// One answer may not make us hold any number of endpoints, and what is left out
// must be the same each time.
func TestDNSTooManyEndpoints(t *testing.T) {
	records := []string{"users.test. 60 IN SRV 0 1 1 a.test.", "users.test. 60 IN SRV 0 1 2 a.test.", "users.test. 60 IN SRV 0 1 3 a.test."}
	for i := range 4000 {
		records = append(records, fmt.Sprintf("a.test. 60 IN A 10.0.%d.%d", i/250, i%250+1))
	}
	var log bytes.Buffer
	r := discovery.DNS(discovery.DNSConfig{
		SRV: true, Network: "ip4", Resolver: newNameserver(t, records...).serve(),
		Interval: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	f := followDNS(t, r, "users.test")
	if e := f.next("snapshot"); len(e.Endpoints) != 10_000 {
		t.Errorf("%d endpoints, %v, want 10000", len(e.Endpoints), e.err)
	}
	f.quiet(time.Second)
	f.stop()
	if strings.Count(log.String(), "too many") != 1 {
		t.Errorf("logged, want one warning:\n%s", log.String())
	}
}

// localhost stands in /etc/hosts, and a final dot would hide it there.
func TestDNSReadsHostsFile(t *testing.T) {
	hosts, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", "localhost")
	if err != nil {
		t.Fatalf("this machine has no localhost: %v", err)
	}
	n := newNameserver(t)
	e := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.serve(), Network: "ip4"}), "localhost:80").next("localhost")
	if want := netip.AddrPortFrom(hosts[0].Unmap(), 80).String(); e.addrs() != want || len(n.queries(dns.TypeA)) > 0 {
		t.Errorf("got %q, %v after %d questions, want %s without any", e.addrs(), e.err, len(n.queries(dns.TypeA)), want)
	}
}

// Names with a dot are absolute: each look-up is one question for each family,
// whatever search list the machine has.
func TestDNSAsksAbsoluteNames(t *testing.T) {
	n := newNameserver(t)
	followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.serve(), Interval: time.Hour}), "users.internal:80").next("unknown")
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if asked := n.queries(qtype); len(asked) != 1 || asked[0].name != "users.internal." {
			t.Errorf("asked %v, want users.internal. once", asked)
		}
	}
}

func TestDNSWatchesCanBeLeftAndBegunAgain(t *testing.T) {
	n := newNameserver(t, "users.test. 60 IN A 10.0.0.1")
	sequence := discovery.DNS(discovery.DNSConfig{Resolver: n.serve()}).Watch(t.Context(), "users.test:80")
	for range 2 {
		for s, err := range sequence {
			if err != nil || len(s.Endpoints) != 1 {
				t.Errorf("got %+v, %v", s, err)
			}
			break
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for s, err := range discovery.DNS(discovery.DNSConfig{}).Watch(ended, "users.test:80") {
		t.Errorf("got %+v, %v with an ended context", s, err)
	}
}
