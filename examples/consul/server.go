package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// serverVariable, in the environment, makes this program a server. It holds
// the server's ID and address, as ID=address.
const serverVariable = "FAIRLEAD_EXAMPLE_SERVER"

// listenWithin is how long a revived server waits for its old port: a connection
// of anybody on this machine may have it for a moment.
const listenWithin = 5 * time.Second

func isServer() bool { return os.Getenv(serverVariable) != "" }

// serve is a server's main. It tells its address, answers with its ID, and ends
// with the process that started it.
func serve() {
	id, addr, _ := strings.Cut(os.Getenv(serverVariable), "=")
	listener, err := listen(addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	err = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2 * time.Millisecond)
		_, _ = io.WriteString(w, id)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func listen(addr string) (net.Listener, error) {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		listener, err := net.Listen("tcp", addr)
		if err == nil || time.Since(began) > listenWithin {
			return listener, err
		}
	}
}

// server is a server in a process of its own.
type server struct {
	id   string
	addr string // with port 0 until the first start, then kept
	cmd  *exec.Cmd
}

// start starts this program once more, as a server.
func (s *server) start() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), serverVariable+"="+s.id+"="+s.addr)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // its end is ours
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	line := bufio.NewScanner(out)
	if !line.Scan() {
		s.kill()
		return fmt.Errorf("server %s did not start", s.id)
	}
	s.addr = line.Text()
	return nil
}

// kill is SIGKILL: no goodbye to callers or to Consul.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}
