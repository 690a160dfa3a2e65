package fairlead_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// serveAt, in the environment, makes the test binary an HTTP server at that
// address: an endpoint that is a process of its own and can really be killed.
const serveAt = "FAIRLEAD_TEST_SERVE_AT"

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
	err = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Millisecond)
		_, _ = io.WriteString(w, listener.Addr().String())
	}))
	fmt.Println(err)
	os.Exit(1)
}

// process is an HTTP server in a process of its own. It answers with its address.
type process struct {
	addr string
	cmd  *exec.Cmd
}

func startProcess(t testing.TB, addr string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), serveAt+"="+addr)
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
