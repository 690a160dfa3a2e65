package consul_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// registerAt, in the environment, makes the test binary a process that
// registers itself with the agent of that address, until it is told to end.
const registerAt = "FAIRLEAD_TEST_REGISTER_AT"

func serveRegistered(agent string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // nobody survives the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	registrar, err := consul.NewRegistrar(consul.Config{Address: agent}, consul.TTLCheck{TTL: 2 * time.Second})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	registration, err := registrar.Register(ctx, "users", discovery.Endpoint{ID: "child", Addr: "10.0.0.1:80"})
	fmt.Println("registered:", err)
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println("deregistered:", registration.Deregister(ctx))
}

// child is such a process.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, agent *consultest.Agent) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), registerAt+"="+agent.Addr)
	if _, err := c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(os.Kill) })
	c.says(t, "registered: <nil>")
	return c
}

func (c *child) says(t *testing.T, want string) {
	t.Helper()
	if !c.lines.Scan() || c.lines.Text() != want {
		t.Fatalf("the process says %q, want %q", c.lines.Text(), want)
	}
}

func (c *child) end(with os.Signal) {
	_ = c.cmd.Process.Signal(with)
	_ = c.cmd.Wait()
}

// TestDeath kills a process: its TTL runs out, and the next process with its
// ID is well at once.
func TestDeath(t *testing.T) {
	agent := consultest.Start(t)
	c := startChild(t, agent)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.until("the endpoint", func(e event) bool { return e.has("10.0.0.1:80") })
	f.quiet(3 * time.Second) // it lives longer than its TTL
	died := time.Now()
	c.end(os.Kill)
	e := f.until("its absence", func(e event) bool { return e.has() })
	t.Logf("critical %v after the death", e.at.Sub(died))
	if took := e.at.Sub(died); took > 4*time.Second {
		t.Errorf("critical %v after the death, want about the TTL of 2 s", took)
	}
	began := time.Now()
	startChild(t, agent)
	e = f.until("its successor", func(e event) bool { return e.has("10.0.0.1:80") })
	t.Logf("the successor is seen %v after its start", e.at.Sub(began))
	f.quiet(time.Second)
}

// TestSuccessor is the same with a check that the agent makes seldom, so that
// its old status would stay for long.
func TestSuccessor(t *testing.T) {
	agent := consultest.Start(t)
	check := consul.TCPCheck{Addr: agent.Addr, Interval: time.Hour}
	old := instance("u1", 80)
	old.Checks = api.AgentServiceChecks{
		{CheckID: "service:u1:tcp-1", TCP: "127.0.0.1:1", Interval: "1h", Status: api.HealthCritical},
		{CheckID: "left behind", TTL: "1h", Status: api.HealthCritical},
	}
	register(t, agent, old)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.until("nothing", func(e event) bool { return e.has() })
	enroll(t, newRegistrar(t, quietly(agent), check), "users", discovery.Endpoint{ID: "u1", Addr: "10.0.0.1:80"})
	f.until("the endpoint", func(e event) bool { return e.has("10.0.0.1:80") })
	f.quiet(200 * time.Millisecond)
}

// TestGoodbye asks a process to end.
func TestGoodbye(t *testing.T) {
	agent := consultest.Start(t)
	c := startChild(t, agent)
	f := follow(t, newResolver(t, consul.Config{Address: agent.Addr}), "users")
	f.until("the endpoint", func(e event) bool { return e.has("10.0.0.1:80") })
	asked := time.Now()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.says(t, "deregistered: <nil>")
	e := f.until("its absence", func(e event) bool { return e.has() })
	t.Logf("gone %v after the signal", e.at.Sub(asked))
	services, err := agent.Client.Agent().Services()
	if err != nil || len(services) != 0 {
		t.Errorf("left behind: %v, %v", services, err)
	}
}
