// Package devagent runs a Consul agent in development mode for an example, where
// no agent is at hand.
package devagent

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

// Agent is a Consul agent that keeps all in memory.
type Agent struct {
	// Addr is where its HTTP API listens, as host:port.
	Addr string

	cmd *exec.Cmd
	log bytes.Buffer // read it only after the end
}

const readyWithin = 30 * time.Second

// Start starts an agent and waits until it has elected itself leader.
func Start(ctx context.Context) (*Agent, error) {
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	a := &Agent{Addr: "127.0.0.1:" + ports[0]}
	a.cmd = exec.Command(binary, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-node", "example",
		"-http-port", ports[0], "-server-port", ports[1], "-serf-lan-port", ports[2],
		"-serf-wan-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-dns-port=-1", "-log-level", "warn")
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	if err := a.awaitLeader(ctx); err != nil {
		a.Stop()
		return nil, fmt.Errorf("the agent did not become ready: %w\n%s", err, a.log.String())
	}
	return a, nil
}

// Stop ends the agent.
func (a *Agent) Stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
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

func (a *Agent) awaitLeader(ctx context.Context) error {
	config := api.DefaultConfig()
	config.Address = a.Addr
	client, err := api.NewClient(config)
	if err != nil {
		return err
	}
	defer config.Transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		leader, err := client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
		if err == nil && leader != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
