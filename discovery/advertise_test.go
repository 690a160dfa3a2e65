package discovery_test

import (
	"net"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestAdvertisedAddr(t *testing.T) {
	for name, test := range map[string]struct {
		listener net.Addr
		want     string
		refusal  string
	}{
		"IPv4":      {listener: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, want: "10.0.0.1:80"},
		"IPv6":      {listener: &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 80}, want: "[2001:db8::1]:80"},
		"loopback":  {listener: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}, want: "127.0.0.1:80"},
		"no socket": {listener: &net.UnixAddr{Name: "/run/users"}, refusal: "want a TCP address"},
	} {
		got, err := discovery.AdvertisedAddr(listenerAt{addr: test.listener})
		if got != test.want || (err != nil) != (test.refusal != "") || err != nil && !strings.Contains(err.Error(), test.refusal) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}

// What the machine's own addresses are, nobody knows: whatever comes is either
// an address that is not the listener's, or an error that asks for one.
func TestAdvertisedAddrOfAll(t *testing.T) {
	got, err := discovery.AdvertisedAddr(listenerAt{addr: &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}})
	switch {
	case err != nil && !strings.Contains(err.Error(), "set the endpoint's Addr"):
		t.Errorf("the error asks for nothing: %v", err)
	case err == nil && (discovery.Endpoint{Addr: got}.Validate() != nil || strings.HasPrefix(got, "[::]")):
		t.Errorf("got %q, want an address that others can reach", got)
	}
}

type listenerAt struct {
	net.Listener
	addr net.Addr
}

func (l listenerAt) Addr() net.Addr { return l.addr }

func TestSoleHost(t *testing.T) {
	loopback, linkLocal := "127.0.0.1/8", "fe80::1/64"
	for name, test := range map[string]struct {
		addrs   []string
		only4   bool
		want    string
		refusal string
	}{
		"one":                        {addrs: []string{loopback, "10.0.0.5/24", "::1/128", linkLocal}, want: "10.0.0.5"},
		"IPv4 before IPv6":           {addrs: []string{"2001:db8::5/64", "10.0.0.5/24"}, want: "10.0.0.5"},
		"IPv6 alone":                 {addrs: []string{loopback, "2001:db8::5/64"}, want: "2001:db8::5"},
		"IPv6 where only IPv4 helps": {addrs: []string{"2001:db8::5/64"}, only4: true, refusal: "no address"},
		"several":                    {addrs: []string{"10.0.0.5/24", "192.168.0.5/24"}, refusal: "10.0.0.5 192.168.0.5"},
		"none":                       {addrs: []string{loopback, linkLocal, "no address"}, refusal: "no address"},
	} {
		var addrs []net.Addr
		for _, a := range test.addrs {
			addrs = append(addrs, textAddr(a))
		}
		got, err := discovery.SoleHost(addrs, test.only4)
		switch {
		case test.refusal == "" && (err != nil || got.String() != test.want):
			t.Errorf("%s: %v, %v, want %s", name, got, err, test.want)
		case test.refusal != "" && (err == nil || !strings.Contains(err.Error(), test.refusal)):
			t.Errorf("%s: %v, %v, want an error that says %q", name, got, err, test.refusal)
		}
	}
}

type textAddr string

func (textAddr) Network() string  { return "ip+net" }
func (a textAddr) String() string { return string(a) }
