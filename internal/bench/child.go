package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// role, in the environment, makes the program one of its own servers.
const role = "FAIRLEAD_BENCH_ROLE"

const (
	httpRole = "http"
	grpcRole = "grpc"
)

// becomeChild runs as what the environment says, if it says something. A server
// ends when its input does, so that none outlives the bench.
func becomeChild() bool {
	var serve func() (addr string, err error)
	switch os.Getenv(role) {
	case httpRole:
		serve = serveHTTP
	case grpcRole:
		serve = serveGRPC
	default:
		return false
	}
	addr, err := serve()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// child is a server in a process of its own.
type child struct {
	process
	addr string
}

// startChild starts a server and waits until it has said where it listens.
func startChild(as string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"="+as)
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
	if c.addr, err = firstLine(out); err != nil {
		c.end()
		return nil, fmt.Errorf("a %s server: %w", as, err)
	}
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
		return strings.TrimSpace(line), nil
	case <-time.After(patience):
		return "", fmt.Errorf("it says nothing for %v", patience)
	}
}
