package fairlead_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// serveAt, in the environment, makes the test binary an HTTP server at that
// address: an endpoint that is a process of its own and can really be killed.
const serveAt = "FAIRLEAD_TEST_SERVE_AT"

// registerWith, beside serveAt, is the address of a Consul agent with which the
// server registers itself, under the ID that registerAs holds.
const (
	registerWith = "FAIRLEAD_TEST_REGISTER_WITH"
	registerAs   = "FAIRLEAD_TEST_REGISTER_AS"
)

// heartbeat is the TTL of the registration: a killed server is out so soon.
const heartbeat = 2 * time.Second

func TestMain(m *testing.M) {
	if addr := os.Getenv(serveAt); addr != "" {
		serve(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(addr string) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { // nobody survives the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond)
		if r.URL.Query().Has("slow") {
			time.Sleep(100 * time.Millisecond)
		}
		_, _ = io.WriteString(w, listener.Addr().String())
	})
	if agent := os.Getenv(registerWith); agent != "" {
		err = serveRegistered(listener, handler, agent)
	} else {
		err = http.Serve(listener, handler)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serveRegistered serves until SIGTERM, found by its name.
func serveRegistered(listener net.Listener, handler http.Handler, agent string) error {
	registrar, err := consul.NewRegistrar(consul.Config{Address: agent}, consul.TTLCheck{TTL: heartbeat})
	if err != nil {
		return err
	}
	defer registrar.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return discovery.Serving{
		Server: &http.Server{Handler: handler}, Listener: listener,
		Registrar: registrar, Service: "users", Endpoint: discovery.Endpoint{ID: os.Getenv(registerAs)},
		Linger: 300 * time.Millisecond,
	}.Run(ctx)
}

// process is an HTTP server in a process of its own. It answers with its address.
type process struct {
	addr string
	cmd  *exec.Cmd
}

func startProcess(t testing.TB, addr string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(append(os.Environ(), serveAt+"="+addr), env...)
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line := bufio.NewScanner(out)
	if !line.Scan() {
		t.Fatal("the server process says nothing")
	}
	if p.addr = line.Text(); addr != "127.0.0.1:0" && p.addr != addr {
		t.Fatalf("the server process says %q", p.addr)
	}
	return p
}

// kill is SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// terminate is SIGTERM, and returns how the process ended.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}
