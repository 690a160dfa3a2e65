package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
)

// agent is a Consul agent in development mode, which keeps all in memory.
type agent struct {
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer // read it only after the end
}

const readyWithin = 30 * time.Second

// startAgent starts an agent and waits until it has elected itself leader.
func startAgent(ctx context.Context) (*agent, error) {
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	a := &agent{addr: "127.0.0.1:" + ports[0]}
	a.cmd = exec.Command(binary, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", "example",
		"-http-port", ports[0], "-server-port", ports[1], "-serf-lan-port", ports[2],
		"-serf-wan-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port=-1", "-log-level", "warn")
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	if err := a.awaitLeader(ctx); err != nil {
		a.stop()
		return nil, fmt.Errorf("the agent did not become ready: %w\n%s", err, a.log.String())
	}
	return a, nil
}

// findBinary looks for .bin/consul here and in the directories above.
func findBinary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, ".bin", "consul")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("no Consul agent: set CONSUL_HTTP_ADDR to the address of one, or build one by `make consul`")
	}
}

// freePorts asks the kernel for ports that nobody uses now, all held together
// so that they differ.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

func (a *agent) awaitLeader(ctx context.Context) error {
	client, closeClient, err := newClient(a.addr)
	if err != nil {
		return err
	}
	defer closeClient()
	return await(ctx, readyWithin, "an agent with a leader", func() bool {
		leader, err := client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
		return err == nil && leader != ""
	})
}

func (a *agent) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

// newClient returns a client of the agent at addr, empty meaning that of
// CONSUL_HTTP_ADDR, and a function that closes its connections.
func newClient(addr string) (*api.Client, func(), error) {
	config := api.DefaultConfig()
	if addr != "" {
		config.Address = addr
	}
	client, err := api.NewClient(config)
	return client, config.Transport.CloseIdleConnections, err
}

// await waits until done says true.
func await(ctx context.Context, within time.Duration, what string, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no %s within %v", what, within))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
