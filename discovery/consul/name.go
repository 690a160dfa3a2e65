package consul

import (
	"fmt"
	"strings"
)

const (
	maxName = 253 // of a whole name, as in DNS
	maxWord = 128 // of a datacenter, namespace or partition
)

// target is what a service's name stands for.
type target struct {
	service    string
	datacenter string // "" means the Config's
}

func (t target) String() string {
	if t.datacenter == "" {
		return fmt.Sprintf("service %q", t.service)
	}
	return fmt.Sprintf("service %q in datacenter %q", t.service, t.datacenter)
}

// parseName understands users, users.service.consul and
// users.service.dc2.consul, in any case and with or without a trailing dot.
func parseName(name string) (target, error) {
	if err := validateName(name); err != nil {
		return target{}, err
	}
	plain := strings.TrimSuffix(strings.ToLower(name), ".")
	rest, found := strings.CutSuffix(plain, ".consul")
	if !found {
		return target{service: plain}, nil
	}
	if service, found := strings.CutSuffix(rest, ".service"); found {
		return dnsTarget(name, service, "")
	}
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		if service, found := strings.CutSuffix(rest[:i], ".service"); found {
			return dnsTarget(name, service, rest[i+1:])
		}
	}
	return target{}, formError(name)
}

func validateName(name string) error {
	labels := strings.TrimSuffix(name, ".")
	switch {
	case labels == "":
		return fmt.Errorf("consul: the service's name is %q, want the host of its URLs", name)
	case len(name) > maxName:
		return fmt.Errorf("consul: the service's name %q… has %d characters, want at most %d", name[:32], len(name), maxName)
	case strings.HasPrefix(labels, ".") || strings.HasSuffix(labels, ".") || strings.Contains(labels, ".."):
		return fmt.Errorf("consul: the service's name is %q, want no empty part between its dots", name)
	case strings.Contains(name, ":"):
		return fmt.Errorf("consul: the service's name is %q, but a Consul service name carries no port: its entries bring their own, leave it out", name)
	case !validChars(strings.ToLower(name), "-_."):
		return fmt.Errorf("consul: the service's name is %q, want letters, digits, '-', '_' and '.'", name)
	}
	return nil
}

func dnsTarget(name, service, datacenter string) (target, error) {
	if service == "" || strings.Contains(service, ".") || datacenter != "" && !validWord(datacenter) {
		return target{}, formError(name)
	}
	return target{service: service, datacenter: datacenter}, nil
}

func formError(name string) error {
	return fmt.Errorf("consul: the name %q is not understood, want users, users.service.consul or users.service.dc2.consul (tags go into Config.Tags)", name)
}

func validWord(s string) bool {
	return s != "" && len(s) <= maxWord && validChars(s, "-_")
}

// validChars reports whether s, in lower case, has but letters, digits and extra.
func validChars(s, extra string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(extra, r)
	})
}
