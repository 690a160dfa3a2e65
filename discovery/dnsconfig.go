package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// DNSConfig tells which names and records of DNS stand for a service. The zero
// value is complete: it asks A and AAAA records of the service's own name, and
// the port comes from the URL.
type DNSConfig struct {
	// Name is the DNS name that is asked. In it "{}" stands for the service's
	// name without its port: "{}.service.consul",
	// "_http._tcp.{}.default.svc.cluster.local". A final dot makes a name
	// without other dots absolute. Empty means "{}".
	Name string

	// SRV asks SRV records for services without a port. It is implied where the
	// asked name begins with an underscore.
	SRV bool

	// Port is that of A and AAAA answers for services that carry none, from 1 to
	// 65535. Zero means that such a service is an error that says what to do.
	Port int

	// Network is "ip" for A and AAAA records, "ip4" for A only or "ip6" for AAAA
	// only. Empty means "ip".
	Network string

	// Interval is the time between two look-ups of a service, from 100 ms to 1 h,
	// jittered by ±10 %. Zero means 10 s. Go's resolver does not tell a record's
	// TTL, so it does not matter here; caches between us and the source of the
	// record heed it.
	Interval time.Duration

	// Timeout is what one look-up may take, with all its questions, from 100 ms
	// to 1 min. Zero means 15 s: Go waits 5 s for a name server before it asks the
	// next one, and resolv.conf lists up to three.
	Timeout time.Duration

	// Search lets the search list of resolv.conf apply to names with a dot too.
	// Without it they are asked as absolute names, once. A name without a dot is
	// always asked as it is: only the search list or /etc/hosts can complete it.
	Search bool

	// Resolver is whom to ask. Nil means net.DefaultResolver. Its fields are read
	// by [DNS], and its StrictErrors is taken for true.
	//
	// Consul's name server leaves out of a datagram what does not fit, and does
	// not say so unless its dns_config.enable_truncate is set. Ask it by a
	// Resolver whose Dial connects to it by TCP, or use package discovery/consul.
	Resolver *net.Resolver

	// Logger is told of bad records and of questions that failed beside others,
	// each once per watch and at most 64 of them. Nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultDNSInterval = 10 * time.Second
	defaultDNSTimeout  = 15 * time.Second
	leastDNSMemory     = 30 * time.Second
	placeholder        = "{}"
)

// validate returns every mistake in c, or nil.
func (c DNSConfig) validate() error {
	return errors.Join(
		c.validateName(),
		c.validatePort(),
		c.validateNetwork(),
		validateDNSDuration("Interval", c.Interval, 100*time.Millisecond, time.Hour, defaultDNSInterval),
		validateDNSDuration("Timeout", c.Timeout, 100*time.Millisecond, time.Minute, defaultDNSTimeout),
	)
}

func (c DNSConfig) validateName() error {
	if err := validateDNSName(c.asked("x")); err != nil {
		return fmt.Errorf("discovery: DNSConfig.Name is %q, want a DNS name in which %q stands for the service's name: %w", c.Name, placeholder, err)
	}
	return nil
}

func (c DNSConfig) validatePort() error {
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("discovery: DNSConfig.Port is %d, want 1 to 65535, or 0 meaning that the service's name carries it", c.Port)
	}
	return nil
}

func (c DNSConfig) validateNetwork() error {
	switch c.Network {
	case "", "ip", "ip4", "ip6":
		return nil
	}
	return fmt.Errorf(`discovery: DNSConfig.Network is %q, want "ip", "ip4" or "ip6", or "" meaning "ip"`, c.Network)
}

func validateDNSDuration(field string, d, least, most, zero time.Duration) error {
	if d == 0 || d >= least && d <= most {
		return nil
	}
	return fmt.Errorf("discovery: DNSConfig.%s is %v, want %v to %v, or 0 meaning %v", field, d, least, most, zero)
}

func (c DNSConfig) interval() time.Duration { return cmp.Or(c.Interval, defaultDNSInterval) }

func (c DNSConfig) timeout() time.Duration { return cmp.Or(c.Timeout, defaultDNSTimeout) }

// memory returns how long what was known of a question stands in for its answer.
// 30 s outlast the restart of a name server, and with a long interval it takes a
// few look-ups to tell a failure that lasts from a chance one. Much longer would
// be worse than to forget: the endpoints may be dead, and nothing says so.
func (c DNSConfig) memory() time.Duration { return max(leastDNSMemory, 3*c.interval()) }

func (c DNSConfig) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// asked returns the DNS name that stands for a service's host.
func (c DNSConfig) asked(host string) string {
	name := strings.ReplaceAll(cmp.Or(c.Name, placeholder), placeholder, host)
	if !c.Search && strings.Contains(name, ".") && !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}
