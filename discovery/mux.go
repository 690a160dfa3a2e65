package discovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Mux is a Resolver that leaves each name to one of several others, by the
// pattern it matches:
//
//	"users"     that name
//	"*.consul"  every name that ends with ".consul"; of several the longest
//	"*"         every other name
//
// A name with a port is matched with its port first and then without it, so that
// "users" is for users:8080 too unless there is a "users:8080". The resolver is
// asked for the name unchanged. A name that no pattern matches is unknown.
//
// Patterns are in lower case and without a trailing dot, as a Mesh asks for
// names. The table must not be changed while it is in use.
type Mux map[string]Resolver

var (
	_ Resolver  = Mux(nil)
	_ Refresher = Mux(nil)
)

// Watch is the Watch of the resolver that the service's name belongs to.
func (m Mux) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	r, known := m.match(service)
	if known {
		return sequence(ctx, r, service)
	}
	return func(yield func(Snapshot, error) bool) {
		refuse(ctx, Snapshot{Unknown: true}, fmt.Errorf("discovery: no pattern of the Mux matches the name %.100q", service), yield)
	}
}

// Refresh is passed on to the resolver that the service's name belongs to.
func (m Mux) Refresh(service string) {
	if r, known := m.match(service); known {
		refreshInner(r, service)
	}
}

func (m Mux) match(name string) (r Resolver, known bool) {
	if r, known = m.matchName(name); known {
		return r, true
	}
	if host, ok := withoutPort(name); ok {
		if r, known = m.matchName(host); known {
			return r, true
		}
	}
	r, known = m["*"]
	return r, known
}

func (m Mux) matchName(name string) (r Resolver, known bool) {
	if r, known = m[name]; known {
		return r, true
	}
	for i := range len(name) {
		if i > 0 && name[i] == '.' {
			if r, known = m["*"+name[i:]]; known {
				return r, true
			}
		}
	}
	return nil, false
}

// withoutPort returns the host of a name that has a port.
func withoutPort(name string) (host string, ok bool) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || strings.HasSuffix(name, "]") {
		return "", false // without a port, an IPv6 address included
	}
	return name[:i], true
}

// Validate returns every mistake in the table: a pattern that no name can match,
// a nil resolver, and what the resolvers' own Validate says.
func (m Mux) Validate() error {
	if len(m) == 0 {
		return errors.New("discovery: the Mux is empty, want a pattern and its resolver")
	}
	var errs []error
	for _, pattern := range slices.Sorted(maps.Keys(m)) {
		errs = append(errs, validatePattern(pattern), validateInner(fmt.Sprintf("Mux[%.100q]", pattern), m[pattern]))
	}
	return errors.Join(errs...)
}

func validatePattern(pattern string) error {
	if pattern == "*" {
		return nil
	}
	name := strings.TrimPrefix(pattern, "*.")
	if validateName(name) != nil || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "* \t\r\n/@?#") {
		return fmt.Errorf(`discovery: Mux[%.100q] is no pattern, want a name, "*." before the end of names, or "*", in lower case without a trailing dot`, pattern)
	}
	return nil
}
