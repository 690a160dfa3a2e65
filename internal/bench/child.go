package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// What the environment says to make the program one of its own servers.
const (
	role  = "FAIRLEAD_BENCH_ROLE"
	ports = "FAIRLEAD_BENCH_PORTS" // how many it listens at
)

const (
	httpRole = "http"
	grpcRole = "grpc"
)

// becomeChild runs as what the environment says, if it says something. A server
// ends when its input does, so that none outlives the bench.
func becomeChild() bool {
	as := os.Getenv(role)
	if as == "" {
		return false
	}
	addrs, err := serve(as, os.Getenv(ports))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(addrs, " "))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// serve serves at so many ports, and returns their addresses.
func serve(as, ports string) ([]string, error) {
	n, err := strconv.Atoi(ports)
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners, addrs = append(listeners, l), append(addrs, l.Addr().String())
	}
	switch as {
	case httpRole:
		serveHTTP(listeners)
		return addrs, nil
	case grpcRole:
		return addrs, serveGRPC(listeners)
	}
	return nil, fmt.Errorf("no server is called %q", as)
}

// child is a server in a process of its own.
type child struct {
	process
	addrs []string
}

// startChild starts a server with n ports and waits until it has said which.
func startChild(as string, n int) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"="+as, ports+"="+strconv.Itoa(n))
	if _, err := cmd.StdinPipe(); err != nil { // held open until it is to end
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &child{}
	if err := c.begin(cmd); err != nil {
		return nil, err
	}
	line, err := firstLine(out)
	if err != nil {
		c.end()
		return nil, fmt.Errorf("a %s server: %w", as, err)
	}
	c.addrs = strings.Fields(line)
	return c, nil
}

// firstLine is what a process says first.
func firstLine(out io.Reader) (string, error) {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // empty where it ended without a word
		said <- line
	}()
	select {
	case line := <-said:
		if line == "" {
			return "", errors.New("it has ended")
		}
		return line, nil
	case <-time.After(patience):
		return "", fmt.Errorf("it says nothing for %v", patience)
	}
}
