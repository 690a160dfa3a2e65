package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxDNSName  = 253 // without the final dot (RFC 1035, section 2.3.4)
	maxDNSLabel = 63
)

// dnsTarget is what a service's name stands for.
type dnsTarget struct {
	service string
	name    string     // that is asked
	port    uint16     // of each address of name; 0: SRV records tell it
	addr    netip.Addr // valid: the service is this address, nothing is asked
}

// target returns what to ask for a service, or why it cannot be asked.
func (c DNSConfig) target(service string) (dnsTarget, error) {
	host, port, err := splitService(service)
	if err != nil {
		return dnsTarget{}, err
	}
	t := dnsTarget{service: service, port: port}
	if addr, err := netip.ParseAddr(host); err == nil {
		t.addr = addr.Unmap()
		return t.withPort(c.Port)
	}
	t.name = c.asked(strings.ToLower(host))
	if err := validateDNSName(t.name); err != nil {
		return dnsTarget{}, fmt.Errorf("discovery: the service's name is %q: %w", service, err)
	}
	switch srv := strings.HasPrefix(t.name, "_"); {
	case srv && port != 0:
		return dnsTarget{}, fmt.Errorf("discovery: the service's name is %q, but %q holds SRV records, which bring their own ports: leave the port out of the URL", service, t.name)
	case srv || c.SRV:
		return t, nil
	}
	return t.withPort(c.Port)
}

// withPort returns the target with its own port, else the configured one.
func (t dnsTarget) withPort(configured int) (dnsTarget, error) {
	if t.port == 0 {
		t.port = uint16(configured)
	}
	if t.port == 0 {
		return dnsTarget{}, fmt.Errorf("discovery: the service's name is %q and DNS tells no port for it: put one in the URL, or set DNSConfig.Port or DNSConfig.SRV", t.service)
	}
	return t, nil
}

// splitService parts users.internal:8080 and [::1]:80. A port of 0 means none.
func splitService(service string) (host string, port uint16, err error) {
	host, text, err := splitPort(service)
	host = strings.TrimSuffix(host, ".")
	switch {
	case err != nil || host == "" || strings.HasSuffix(host, "."):
		return "", 0, fmt.Errorf("discovery: the service's name is %q, want a host, with :port or without", service)
	case strings.Contains(host, "%") && strings.ContainsFunc(host, notOfZone):
		return "", 0, fmt.Errorf("discovery: the service's name is %q, want letters, digits, '-', '_' and '.' in the address's zone", service)
	case text == "":
		return host, 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("discovery: the service's name is %q, want a port from 1 to 65535", service)
	}
	return host, uint16(n), nil
}

// splitPort is net.SplitHostPort for services that may have no port.
func splitPort(service string) (host, port string, err error) {
	if !strings.Contains(service, ":") {
		return service, "", nil
	}
	host = service
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, "", nil
	}
	return net.SplitHostPort(service)
}

// validateDNSName returns why a name cannot be asked. What passes here also
// passes Go's resolver, which would answer "no such host" for the rest without
// asking anybody.
func validateDNSName(name string) error {
	plain := strings.TrimSuffix(name, ".")
	switch {
	case plain == "":
		return errors.New("the DNS name is empty, want letters, digits, '-' and '_'")
	case len(plain) > maxDNSName:
		return fmt.Errorf("the DNS name %.32q… has %d characters, want at most %d", plain, len(plain), maxDNSName)
	case !strings.ContainsFunc(plain, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }):
		return fmt.Errorf("the DNS name %q is all digits, want a letter in it", name)
	case plain == "onion" || strings.HasSuffix(strings.ToLower(plain), ".onion"):
		return fmt.Errorf("the DNS name %q is below onion, which is never asked of DNS (RFC 7686)", name)
	}
	for label := range strings.SplitSeq(plain, ".") {
		if err := validateDNSLabel(label); err != nil {
			return fmt.Errorf("the DNS name %q %w", name, err)
		}
	}
	return nil
}

func validateDNSLabel(label string) error {
	switch {
	case label == "":
		return errors.New("has an empty part, want something between its dots")
	case len(label) > maxDNSLabel:
		return fmt.Errorf("has a part of %d characters, want at most %d between its dots", len(label), maxDNSLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("has a part that begins or ends with '-', want a letter, a digit or '_' there")
	case strings.ContainsFunc(label, notOfLabel):
		return errors.New("has other characters than letters, digits, '-', '_' and '.' (an international name has an xn-- form)")
	}
	return nil
}

func notOfLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func notOfZone(r rune) bool { return notOfLabel(r) && !strings.ContainsRune(".:%", r) }
