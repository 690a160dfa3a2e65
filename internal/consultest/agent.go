package consultest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 10 * time.Second
)

// Agent is a Consul agent in development mode: a server of its own, which
// keeps its state in memory only, on loopback ports of its own.
// Its methods are for the test's goroutine.
type Agent struct {
	// Addr is where the HTTP API listens, as host:port. It outlives a Restart.
	Addr string

	// DNS is where the agent answers DNS, as host:port: empty without WithDNS.
	DNS string

	// Client talks to Addr with the token of WithToken.
	Client *api.Client

	t         testing.TB
	binary    string
	dir       string
	config    string
	token     string
	dns       bool
	ports     ports
	transport *http.Transport
	process   *process // nil while stopped
}

// Option changes what Start starts.
type Option func(*Agent)

// WithConfig adds agent configuration, in HCL or (if it begins with a brace) JSON.
func WithConfig(text string) Option { return func(a *Agent) { a.config = text } }

// WithToken makes Client send an ACL token. The agent is ready only when it
// accepts the token.
func WithToken(token string) Option { return func(a *Agent) { a.token = token } }

// WithDNS makes the agent answer DNS at its own Agent.DNS.
func WithDNS() Option { return func(a *Agent) { a.dns = true } }

// Start starts an agent and returns when it has a leader. It is killed when
// the test ends.
func Start(t testing.TB, options ...Option) *Agent {
	t.Helper()
	a := &Agent{t: t, binary: binary(t), dir: t.TempDir(), transport: &http.Transport{}}
	for _, option := range options {
		option(a)
	}
	t.Cleanup(a.cleanup)
	var err error
	for range 3 { // somebody may take a port between its choice and its use
		if a.ports, err = freePorts(); err != nil {
			t.Fatalf("consultest: %v", err)
		}
		a.Addr = "127.0.0.1:" + strconv.Itoa(a.ports.http)
		if a.dns {
			a.DNS = "127.0.0.1:" + strconv.Itoa(a.ports.dns)
		}
		if a.Client, err = a.newClient(); err != nil {
			t.Fatalf("consultest: %v", err)
		}
		if err = a.start(); err == nil {
			return a
		}
	}
	t.Fatalf("consultest: %v", err)
	return nil
}

// Stop ends the agent as an operator does. The ports stay its own.
func (a *Agent) Stop() { a.end(os.Interrupt) }

// Kill ends the agent without a chance to say goodbye.
func (a *Agent) Kill() { a.end(os.Kill) }

// Pause stops the agent's clock: it keeps its connections and answers nothing.
func (a *Agent) Pause() { a.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (a *Agent) Resume() { a.signal(syscall.SIGCONT) }

// Restart kills the agent if it runs and starts it on the same ports, with
// nothing registered.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Kill()
	if err := a.start(); err != nil {
		a.t.Fatalf("consultest: restart: %v", err)
	}
}

func (a *Agent) newClient() (*api.Client, error) {
	return api.NewClient(&api.Config{Address: a.Addr, Token: a.token, Transport: a.transport})
}

func (a *Agent) start() error {
	args, err := a.args()
	if err != nil {
		return err
	}
	if a.process, err = startProcess(a.binary, args, filepath.Join(a.dir, "agent.log")); err != nil {
		return err
	}
	if err := a.awaitReady(); err != nil {
		a.Kill()
		return fmt.Errorf("the agent did not become ready: %w\n%s", err, a.logTail())
	}
	return nil
}

func (a *Agent) args() ([]string, error) {
	args := []string{
		"agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", "consultest", "-log-level", "warn",
		"-http-port", strconv.Itoa(a.ports.http), "-server-port", strconv.Itoa(a.ports.server),
		"-serf-lan-port", strconv.Itoa(a.ports.serf),
		"-serf-wan-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port", a.dnsPort(),
	}
	if a.config == "" {
		return args, nil
	}
	name := filepath.Join(a.dir, "extra.hcl")
	if strings.HasPrefix(strings.TrimSpace(a.config), "{") {
		name = filepath.Join(a.dir, "extra.json")
	}
	return append(args, "-config-file", name), os.WriteFile(name, []byte(a.config), 0o600)
}

func (a *Agent) dnsPort() string {
	if !a.dns {
		return "-1"
	}
	return strconv.Itoa(a.ports.dns)
}

// awaitReady polls until the agent has a leader and takes our token.
func (a *Agent) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	for {
		err := a.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-a.process.done:
			return fmt.Errorf("it ended: %w", a.process.err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *Agent) ready(ctx context.Context) error {
	options := (&api.QueryOptions{}).WithContext(ctx)
	leader, err := a.Client.Status().LeaderWithQueryOptions(options)
	if err != nil {
		return err
	}
	if leader == "" {
		return fmt.Errorf("no leader")
	}
	if a.token != "" {
		_, _, err = a.Client.ACL().TokenReadSelf(options)
	}
	return err
}

func (a *Agent) end(with os.Signal) {
	a.t.Helper()
	if a.process == nil {
		return
	}
	if err := a.process.end(with); err != nil {
		a.t.Errorf("consultest: %v", err)
	}
	a.process = nil
	a.transport.CloseIdleConnections()
}

func (a *Agent) signal(s os.Signal) {
	a.t.Helper()
	if a.process == nil {
		a.t.Fatal("consultest: the agent is stopped")
	}
	if err := a.process.cmd.Process.Signal(s); err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
}

func (a *Agent) cleanup() {
	a.Kill()
	if a.t.Failed() {
		a.t.Logf("consultest: the agent's last words:\n%s", a.logTail())
	}
}

func (a *Agent) logTail() string {
	data, err := os.ReadFile(filepath.Join(a.dir, "agent.log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}
