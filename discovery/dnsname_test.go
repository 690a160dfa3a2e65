package discovery_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// fairlead.New asks for the mistakes of a Resolver by this method.
var _ interface{ Validate() error } = (*discovery.DNSResolver)(nil)

var errDialled = errors.New("dialled")

// undialled returns a Resolver's resolver that asks nobody, and what counts the
// attempts.
func undialled() (*net.Resolver, chan struct{}) {
	dialled := make(chan struct{}, 1000)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		dialled <- struct{}{}
		return nil, errDialled
	}}, dialled
}

// firstOf returns what a watch yields first.
func firstOf(t testing.TB, r discovery.Resolver, service string) (discovery.Snapshot, error) {
	ctx, cancel := context.WithTimeout(t.Context(), dnsPatience)
	defer cancel()
	for s, err := range r.Watch(ctx, service) {
		return s, err
	}
	t.Fatalf("Watch(%q) yielded nothing", service)
	return discovery.Snapshot{}, nil
}

func TestDNSNames(t *testing.T) {
	label := strings.Repeat("x", 63)
	long := strings.Repeat(label+".", 3)
	for _, test := range []struct {
		name, service string
		config        discovery.DNSConfig
		asked         bool
		addr          string   // of an endpoint that is known without asking
		final         []string // what the error says
	}{
		{name: "name and port", service: "users.test:80", asked: true},
		{name: "final dot", service: "users.test.:80", asked: true},
		{name: "underscore", service: "my_users.test:80", asked: true},
		{name: "one label of digits", service: "7.users.test:80", asked: true},
		{name: "longest label", service: label + ".test:80", asked: true},
		{name: "longest name", service: long + strings.Repeat("x", 61) + ":80", asked: true},
		{name: "no port but SRV", service: "users.test", config: discovery.DNSConfig{SRV: true}, asked: true},
		{name: "no port but an underscore", service: "_http._tcp.users", asked: true},
		{name: "no port but Port", service: "users", config: discovery.DNSConfig{Port: 80}, asked: true},

		{name: "IPv4", service: "10.0.0.1:80", addr: "10.0.0.1:80"},
		{name: "IPv6", service: "[fd00::1]:80", addr: "[fd00::1]:80"},
		{name: "IPv4 in IPv6", service: "[::ffff:10.0.0.1]:80", addr: "10.0.0.1:80"},
		{name: "IPv6 with a zone", service: "[fe80::1%eth0]:80", addr: "[fe80::1%eth0]:80"},
		{name: "IPv6 with no zone", service: "[fe80::1%eth 0]:80", final: []string{"zone"}},
		{name: "IPv4 and Port", service: "10.0.0.1", config: discovery.DNSConfig{Port: 80}, addr: "10.0.0.1:80"},
		{name: "IPv6 and Port", service: "[fd00::1]", config: discovery.DNSConfig{Port: 80, SRV: true, Name: "_x.{}"}, addr: "[fd00::1]:80"},
		{name: "IPv4 without Port", service: "10.0.0.1", config: discovery.DNSConfig{SRV: true}, final: []string{"10.0.0.1", "port", "URL"}},
		{name: "IPv6 without Port", service: "[fd00::1]", final: []string{"[fd00::1]", "port", "URL"}},

		{name: "no port", service: "users.test", final: []string{"users.test", "URL", "DNSConfig.Port", "DNSConfig.SRV"}},
		{name: "port of SRV records", service: "users:80", config: discovery.DNSConfig{Name: "_http._tcp.{}.test"}, final: []string{"users:80", "_http._tcp.users.test", "leave the port out"}},
		{name: "port 0", service: "users:0", final: []string{"users:0", "1 to 65535"}},
		{name: "large port", service: "users:65536", final: []string{"1 to 65535"}},
		{name: "named port", service: "users:http", final: []string{"1 to 65535"}},
		{name: "empty port", service: "users:", final: []string{"URL"}},
		{name: "two ports", service: "users:1:2", final: []string{"users:1:2", ":port"}},
		{name: "empty", service: "", final: []string{`""`}},
		{name: "dot", service: ".:80", final: []string{".:80"}},
		{name: "port alone", service: ":80", config: discovery.DNSConfig{Name: "users.test"}, final: []string{":80", "host"}},
		{name: "empty label", service: "a..test:80", final: []string{"a..test", "empty part"}},
		{name: "leading dot", service: ".test:80", final: []string{"empty part"}},
		{name: "two final dots", service: "test..:80", final: []string{"test..:80", "host"}},
		{name: "long label", service: label + "x.test:80", final: []string{"64", "63"}},
		{name: "long name", service: long + strings.Repeat("x", 62) + ":80", final: []string{"254", "253"}},
		{name: "long by its pattern", service: long + "x", config: discovery.DNSConfig{Name: "_http._tcp.{}." + label}, final: []string{"253"}},
		{name: "space", service: "a b:80", final: []string{"a b", "xn--"}},
		{name: "umlaut", service: "üsers.test:80", final: []string{"üsers", "xn--"}},
		{name: "placeholder", service: "{}:80", final: []string{"{}"}},
		{name: "backslash", service: `a\046b:80`, final: []string{"characters"}},
		{name: "leading hyphen", service: "-a.test:80", final: []string{"'-'"}},
		{name: "trailing hyphen", service: "a-.test:80", final: []string{"'-'"}},
		{name: "digits", service: "1.2.3:80", final: []string{"1.2.3", "digits"}},
		{name: "onion", service: "users.onion:80", final: []string{"RFC 7686"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var dialled chan struct{}
			test.config.Resolver, dialled = undialled()
			s, err := firstOf(t, discovery.DNS(test.config), test.service)
			switch {
			case (len(dialled) > 0) != test.asked:
				t.Fatalf("asked %d times, want asked %v (%v)", len(dialled), test.asked, err)
			case test.asked && (err == nil || s.Unknown):
				t.Errorf("got %+v, %v, want the dialler's error", s, err)
			case test.addr != "" && (err != nil || len(s.Endpoints) != 1 || s.Endpoints[0].Addr != test.addr):
				t.Errorf("got %+v, %v, want %s", s, err, test.addr)
			case test.final != nil && (err == nil || !s.Unknown):
				t.Errorf("got %+v, %v, want an error that is final", s, err)
			}
			for _, want := range test.final {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// A final word is followed by nothing until the context ends.
func TestDNSFinalWords(t *testing.T) {
	for _, service := range []string{"10.0.0.1:80", "users"} {
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Interval: 100 * time.Millisecond}), service)
		f.next("final word")
		f.quiet(300 * time.Millisecond)
		select {
		case <-f.ended:
			t.Errorf("the watch of %q ended before its context", service)
		default:
		}
	}
}

func TestDNSValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config discovery.DNSConfig
		want   []string // nil: valid
	}{
		{"zero", discovery.DNSConfig{}, nil},
		{"all", discovery.DNSConfig{Name: "_http._tcp.{}.test.", SRV: true, Port: 65535, Network: "ip6", Interval: time.Hour, Timeout: time.Minute, Search: true, Resolver: &net.Resolver{}}, nil},
		{"least", discovery.DNSConfig{Name: "users", Port: 1, Network: "ip", Interval: 100 * time.Millisecond, Timeout: 100 * time.Millisecond}, nil},
		{"absolute", discovery.DNSConfig{Name: "{}."}, nil},
		{"characters", discovery.DNSConfig{Name: "{}.te st"}, []string{"DNSConfig.Name", `"{}.te st"`, "DNS name"}},
		{"half a placeholder", discovery.DNSConfig{Name: "{.test"}, []string{"DNSConfig.Name", `"{.test"`}},
		{"empty label", discovery.DNSConfig{Name: "{}..test"}, []string{"DNSConfig.Name", "empty part"}},
		{"dot", discovery.DNSConfig{Name: "."}, []string{"DNSConfig.Name", "empty"}},
		{"negative port", discovery.DNSConfig{Port: -1}, []string{"DNSConfig.Port", "-1", "1 to 65535", "0"}},
		{"large port", discovery.DNSConfig{Port: 65536}, []string{"DNSConfig.Port", "65536"}},
		{"network", discovery.DNSConfig{Network: "tcp"}, []string{"DNSConfig.Network", `"tcp"`, `"ip4"`}},
		{"short interval", discovery.DNSConfig{Interval: time.Millisecond}, []string{"DNSConfig.Interval", "1ms", "100ms", "1h0m0s", "10s"}},
		{"negative interval", discovery.DNSConfig{Interval: -1}, []string{"DNSConfig.Interval"}},
		{"long timeout", discovery.DNSConfig{Timeout: time.Hour}, []string{"DNSConfig.Timeout", "1h0m0s", "100ms", "1m0s", "15s"}},
		{"all mistakes", discovery.DNSConfig{Port: -1, Network: "x", Timeout: -1}, []string{"Port", "Network", "Timeout"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := discovery.DNS(test.config)
			err := r.Validate()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("Validate: %v", err)
			}
			if err == nil {
				return
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if s, watched := firstOf(t, r, "10.0.0.1:80"); !s.Unknown || watched == nil || watched.Error() != err.Error() {
				t.Errorf("Watch yields %+v, %v, want %v", s, watched, err)
			}
		})
	}
}

// FuzzDNSName: a service is an address, is asked for, or is refused for good. Go's
// resolver must not be the one that refuses: it says "no such host" without asking.
func FuzzDNSName(f *testing.F) {
	for _, service := range []string{"users", "users.test:80", "[::1]:80", "a..b", "_x.y", "1.2.3", "-a:1", "a.onion:1", "::1:80", "[::1%a]", "::% "} {
		f.Add(service, "", false)
		f.Add(service, "_http._tcp.{}.test", false)
		f.Add(service, "{}.", true)
	}
	f.Fuzz(func(t *testing.T, service, pattern string, srv bool) {
		resolver, dialled := undialled()
		r := discovery.DNS(discovery.DNSConfig{Name: pattern, SRV: srv, Port: 80, Network: "ip4", Resolver: resolver})
		s, err := firstOf(t, r, service)
		switch {
		case err == nil:
			if len(s.Endpoints) == 0 || s.Endpoints[0].Validate() != nil { // an address, or a name of /etc/hosts
				t.Errorf("%q: %+v without an error", service, s)
			}
		case s.Unknown && len(dialled) > 0:
			t.Errorf("%q was asked for and then refused for good: %v", service, err)
		case !s.Unknown && len(dialled) == 0:
			t.Errorf("%q was neither asked for nor refused: %v", service, err)
		}
	})
}
