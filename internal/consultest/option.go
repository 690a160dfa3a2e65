package consultest

import "strings"

// Option changes what Start and StartCluster start.
type Option func(*Agent)

// WithConfig adds agent configuration, in HCL or (if it begins with a brace)
// JSON. It may be given more than once.
func WithConfig(text string) Option {
	return func(a *Agent) { a.configs = append(a.configs, text) }
}

// OnServers keeps options from the client agent of a Cluster.
func OnServers(options ...Option) Option {
	return func(a *Agent) {
		if a.client {
			return
		}
		for _, option := range options {
			option(a)
		}
	}
}

// WithToken makes Client send an ACL token. The agent is ready only when it
// accepts the token.
func WithToken(token string) Option { return func(a *Agent) { a.token = token } }

// WithDNS makes the agent answer DNS at its own Agent.DNS.
func WithDNS() Option { return func(a *Agent) { a.dns = true } }

// WithState makes the agent a server that keeps its state on disk, so that it
// survives a Restart but not a Wipe. It needs 2 s or so to become ready.
func WithState() Option {
	return func(a *Agent) {
		a.mode = []string{"-server", "-bootstrap-expect=1", "-data-dir", a.data()}
		a.configs = append(a.configs, steady)
	}
}

// steady makes elections quick, and keeps a server that was killed among those
// who vote, so that it is a member again as soon as it is back.
const steady = `
	performance { raft_multiplier = 1 }
	autopilot { cleanup_dead_servers = false }
`

func extension(config string) string {
	if strings.HasPrefix(strings.TrimSpace(config), "{") {
		return ".json"
	}
	return ".hcl"
}
