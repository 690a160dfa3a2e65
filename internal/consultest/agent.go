package consultest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 10 * time.Second
)

// Agent is a Consul agent on loopback ports of its own. One from [Start] is a
// server in development mode, which keeps its state in memory only, unless
// [WithState] says otherwise. Its methods are for the test's goroutine.
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
	name      string   // of the node
	client    bool     // not a server
	mode      []string // arguments that say what kind of agent it is
	configs   []string
	token     string
	wan       bool
	dns       bool
	secure    *secure // nil without WithTLS
	ports     ports
	transport *http.Transport
	process   *process // nil while stopped
}

// Start starts an agent and returns when it has a leader. It is killed when
// the test ends.
func Start(t testing.TB, options ...Option) *Agent {
	t.Helper()
	a := newAgent(t, &Agent{name: "consultest", mode: []string{"-dev"}}, options)
	var err error
	for range 3 { // somebody may take a port between its choice and its use
		var free []ports
		if free, err = freePorts(1); err != nil {
			t.Fatalf("consultest: %v", err)
		}
		a.settle(free[0])
		if err = a.start(); err == nil {
			return a
		}
	}
	t.Fatalf("consultest: %v", err)
	return nil
}

// newAgent completes an agent but for its ports.
func newAgent(t testing.TB, a *Agent, options []Option) *Agent {
	t.Helper()
	a.t, a.binary, a.dir, a.transport = t, binary(t), t.TempDir(), &http.Transport{}
	for _, option := range options {
		option(a)
	}
	t.Cleanup(a.cleanup)
	return a
}

// settle gives the agent its ports, and a Client for them.
func (a *Agent) settle(p ports) {
	a.t.Helper()
	a.ports, a.Addr = p, loopback(p.http)
	if a.dns {
		a.DNS = loopback(p.dns)
	}
	var err error
	a.Client, err = api.NewClient(&api.Config{Address: a.Addr, Token: a.token, Transport: a.transport})
	if err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
}

// Stop ends the agent as an operator does. The ports stay its own.
func (a *Agent) Stop() { a.end(os.Interrupt) }

// Kill ends the agent without a chance to say goodbye.
func (a *Agent) Kill() { a.end(os.Kill) }

// Pause stops the agent's clock: it keeps its connections and answers nothing.
// It returns when each of the agent's threads has stopped.
func (a *Agent) Pause() {
	a.t.Helper()
	a.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(stopWithin); !a.paused(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("consultest: the agent runs %v after it was told to pause", stopWithin)
		}
	}
}

// Resume ends a Pause.
func (a *Agent) Resume() { a.signal(syscall.SIGCONT) }

// Running reports whether the agent was started and not ended since.
func (a *Agent) Running() bool { return a.process != nil }

// Restart kills the agent if it runs and starts it on the same ports, with
// what it kept on disk: nothing in development mode. It returns when the agent
// has a leader.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Begin()
	a.AwaitReady()
}

// Begin is Restart without the wait.
func (a *Agent) Begin() {
	a.t.Helper()
	a.Kill()
	if err := a.begin(); err != nil {
		a.t.Fatalf("consultest: restart: %v", err)
	}
}

// AwaitReady returns when the agent has a leader.
func (a *Agent) AwaitReady() {
	a.t.Helper()
	if err := a.awaitReady(); err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
}

// Wipe kills the agent if it runs, and removes what it kept on disk.
func (a *Agent) Wipe() {
	a.t.Helper()
	a.Kill()
	if err := os.RemoveAll(a.data()); err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
}

func (a *Agent) start() error {
	if err := a.begin(); err != nil {
		return err
	}
	if err := a.awaitReady(); err != nil {
		a.Kill()
		return err
	}
	return nil
}

func (a *Agent) begin() error {
	args, err := a.args()
	if err != nil {
		return err
	}
	a.process, err = startProcess(a.binary, args, filepath.Join(a.dir, "agent.log"))
	return err
}

func (a *Agent) args() ([]string, error) {
	args := append([]string{
		"agent", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", a.name, "-log-level", "warn",
		"-http-port", strconv.Itoa(a.ports.http), "-server-port", strconv.Itoa(a.ports.server),
		"-serf-lan-port", strconv.Itoa(a.ports.serf), "-serf-wan-port", strconv.Itoa(a.wanPort()),
		"-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port", strconv.Itoa(a.dnsPort()),
	}, a.mode...)
	configs := a.configs
	if a.secure != nil {
		config, err := a.secure.write(a.dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "-https-port", strconv.Itoa(a.ports.https))
		configs = append(configs[:len(configs):len(configs)], config)
	}
	for i, text := range configs {
		name := filepath.Join(a.dir, "extra-"+strconv.Itoa(i)+extension(text))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-config-file", name)
	}
	return args, nil
}

func (a *Agent) dnsPort() int {
	if a.dns {
		return a.ports.dns
	}
	return -1
}

func (a *Agent) wanPort() int {
	if a.wan {
		return a.ports.wan
	}
	return -1
}

// data is the directory of an agent that keeps its state.
func (a *Agent) data() string { return filepath.Join(a.dir, "data") }

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
			return fmt.Errorf("the agent ended: %w\n%s", a.process.err, a.logTail())
		case <-ctx.Done():
			return fmt.Errorf("the agent did not become ready: %w\n%s", err, a.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ready asks what only a leader answers who has read its log to the end.
func (a *Agent) ready(ctx context.Context) error {
	options := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	_, _, err := a.Client.Catalog().Nodes(options)
	if err == nil && a.token != "" {
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
		a.t.Logf("consultest: the last words of %s:\n%s", a.name, a.logTail())
	}
}

func (a *Agent) logTail() string {
	data, err := os.ReadFile(filepath.Join(a.dir, "agent.log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
