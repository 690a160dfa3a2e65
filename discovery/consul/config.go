package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// Config tells how to reach a Consul agent, what a [Resolver] asks of it and
// what a [Registrar] tells it; one Config may serve both. The zero value is
// complete: it means what Consul's own tools take from the CONSUL_* variables,
// read once by [New] and [NewRegistrar].
type Config struct {
	// Address of the agent: host:port, http://host:port, https://host:port,
	// either with a path prefix behind it, or unix:///path/to/socket.
	// Empty means CONSUL_HTTP_ADDR, else localhost:8500.
	Address string

	// Token is the ACL token of every request. Empty, with TokenFile and
	// TokenSource empty too, means the contents of CONSUL_HTTP_TOKEN_FILE, else
	// CONSUL_HTTP_TOKEN, else none (the agent's default token applies then).
	// At most one of Token, TokenFile and TokenSource may be set.
	Token string

	// TokenFile names a file that holds the token. It is read again before each
	// request, so a rotated token needs no restart.
	TokenFile string

	// TokenSource is asked for the token before each request. It must be safe for
	// concurrent use and return when its context ends.
	TokenSource func(context.Context) (string, error)

	// Datacenter that a Resolver asks. Empty means the agent's own. A name such
	// as users.service.dc2.consul overrides it.
	Datacenter string

	// Namespace and Partition of the services (Consul Enterprise). Empty means
	// CONSUL_NAMESPACE and CONSUL_PARTITION, else the token's own.
	Namespace string
	Partition string

	// Tags that a Resolver wants an entry to have, all of them, spelled exactly
	// so. None means that tags do not matter. A Registrar takes those that it
	// registers from an endpoint's Metadata, under [MetadataTags].
	Tags []string

	// Filter is an expression of Consul's filter language that an entry must
	// satisfy for a Resolver, for example `Service.Meta.version == "2"`. Empty
	// means all. A mistake in it is found by Consul: the watch yields it as an
	// error.
	Filter string

	// TLS, if set, makes the connection https with this configuration, whatever
	// the scheme of Address. Nil means what the scheme, CONSUL_HTTP_SSL,
	// CONSUL_CACERT, CONSUL_CAPATH, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY,
	// CONSUL_TLS_SERVER_NAME and CONSUL_HTTP_SSL_VERIFY say.
	TLS *tls.Config

	// Wait is the longest time a Resolver's query waits for a change, from 1 s to
	// 10 min; each query draws its own between 3/4 of it and all of it. It bounds
	// how old the known set can be after Consul restored a snapshot.
	// Zero means 60 s.
	Wait time.Duration

	// Timeout is what an answer may take beyond the time Consul was asked to
	// wait (and the 1/16 of it that Consul may add), from 100 ms to 5 min.
	// Zero means 15 s. What a Registrar does in the background, and its Close,
	// gets at most 5 s of it.
	Timeout time.Duration

	// DeregisterAfter is how long Consul lets an endpoint of a Registrar stay
	// critical before it takes the endpoint out (DeregisterCriticalServiceAfter),
	// from 1 min, below which Consul does not go, to 30 days. A critical endpoint
	// is called by nobody, so waiting costs nothing; the time only keeps the
	// endpoints of dead processes from piling up. Zero means 10 min, longer than
	// most restarts; -1 means never.
	DeregisterAfter time.Duration

	// Logger is told of bad entries in Consul's answers, each once per watch,
	// and of a Registrar's trouble, once per change of state.
	// Nil means slog.Default().
	Logger *slog.Logger
}

const (
	defaultWait            = time.Minute
	defaultTimeout         = 15 * time.Second
	defaultDeregisterAfter = 10 * time.Minute
)

// validate returns every mistake in c, or nil.
func (c Config) validate() error {
	return errors.Join(
		c.validateAddress(),
		validateBoolEnv(api.HTTPSSLEnvName),
		validateBoolEnv(api.HTTPSSLVerifyEnvName),
		c.validateTokens(),
		validateWord("Datacenter", c.Datacenter),
		validateWord("Namespace", c.Namespace),
		validateWord("Partition", c.Partition),
		c.validateTags(),
		validateDuration("Wait", c.Wait, time.Second, 10*time.Minute, defaultWait),
		validateDuration("Timeout", c.Timeout, 100*time.Millisecond, 5*time.Minute, defaultTimeout),
		c.validateDeregisterAfter(),
	)
}

func (c Config) validateAddress() error {
	field, address := "Address", c.Address
	if address == "" {
		field, address = api.HTTPAddrEnvName, os.Getenv(api.HTTPAddrEnvName)
	}
	if address == "" {
		return nil
	}
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		scheme, rest = "http", address
	}
	switch scheme {
	case "http", "https":
		u, err := url.Parse(scheme + "://" + rest)
		if err == nil && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && validPort(u.Port()) {
			return nil
		}
	case "unix":
		if rest != "" {
			return nil
		}
	}
	return fmt.Errorf("consul: %s is %q, want host:port, http://host:port, https://host:port or unix:///path", field, address)
}

func validPort(port string) bool {
	if port == "" {
		return true // the scheme's own
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// validateBoolEnv refuses what consul/api would take for an answer: any
// CONSUL_HTTP_SSL_VERIFY that it cannot read switches verification off.
func validateBoolEnv(name string) error {
	if v := os.Getenv(name); v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return fmt.Errorf("consul: %s is %q, want true or false", name, v)
		}
	}
	return nil
}

func (c Config) validateTokens() error {
	var set []string
	if c.Token != "" {
		set = append(set, "Token")
	}
	if c.TokenFile != "" {
		set = append(set, "TokenFile")
	}
	if c.TokenSource != nil {
		set = append(set, "TokenSource")
	}
	if len(set) > 1 {
		return fmt.Errorf("consul: %s are set, want at most one of them", strings.Join(set, " and "))
	}
	if !validToken(c.Token) {
		return errors.New("consul: Token holds a character that no HTTP header may carry, want visible ASCII")
	}
	return nil
}

func validateWord(field, value string) error {
	if value == "" || validWord(strings.ToLower(value)) {
		return nil
	}
	return fmt.Errorf("consul: %s is %q, want letters, digits, '-' and '_', at most %d of them", field, value, maxWord)
}

func (c Config) validateTags() error {
	for i, tag := range c.Tags {
		if tag == "" {
			return fmt.Errorf("consul: Tags[%d] is empty, want a tag", i)
		}
		if quote(tag) == "" {
			return fmt.Errorf("consul: Tags[%d] is %q, want no backquote beside a double quote or a backslash: Consul's filters cannot say it", i, tag)
		}
	}
	return nil
}

func (c Config) validateDeregisterAfter() error {
	const least, most = time.Minute, 30 * 24 * time.Hour
	if d := c.DeregisterAfter; d != 0 && d != -1 && (d < least || d > most) {
		return fmt.Errorf("consul: DeregisterAfter is %v, want %v to %v, 0 meaning %v, or -1 meaning never", d, least, most, defaultDeregisterAfter)
	}
	return nil
}

func validateDuration(field string, d, least, most, zero time.Duration) error {
	if d == 0 || d >= least && d <= most {
		return nil
	}
	return fmt.Errorf("consul: %s is %v, want %v to %v, or 0 meaning %v", field, d, least, most, zero)
}

func (c Config) wait() time.Duration {
	if c.Wait == 0 {
		return defaultWait
	}
	return c.Wait
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// deregisterAfter is Consul's way to write DeregisterAfter.
func (c Config) deregisterAfter() string {
	switch c.DeregisterAfter {
	case 0:
		return defaultDeregisterAfter.String()
	case -1:
		return ""
	}
	return c.DeregisterAfter.String()
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// filter joins Tags and Filter into one expression. The query parameter for
// tags is of no use: consul/api offers it only with its own, fat structs.
func (c Config) filter() string {
	var terms []string
	for _, tag := range c.Tags {
		terms = append(terms, quote(tag)+" in Service.Tags")
	}
	if c.Filter != "" {
		terms = append(terms, "("+c.Filter+")")
	}
	return strings.Join(terms, " and ")
}

// quote writes a string of Consul's filter language, which knows no escape for
// its quotes, or returns "".
func quote(s string) string {
	switch {
	case !strings.Contains(s, "`"):
		return "`" + s + "`"
	case !strings.ContainsAny(s, `"\`):
		return `"` + s + `"`
	}
	return ""
}
