package grpcbalancer_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// serveAt, in the environment, makes the test binary a gRPC server at that
// address: an endpoint that is a process of its own and can really be killed.
const serveAt = "FAIRLEAD_TEST_SERVE_AT"

// registerWith, beside serveAt, is the address of a Consul agent with which the
// server registers itself, under the ID that registerAs holds.
const (
	registerWith = "FAIRLEAD_TEST_REGISTER_WITH"
	registerAs   = "FAIRLEAD_TEST_REGISTER_AS"
)

const (
	heartbeat   = 2 * time.Second        // the TTL of the registration: a killed server is out so soon
	linger      = 500 * time.Millisecond // for which a server that has left goes on as before
	messageEach = 10 * time.Millisecond  // of a long stream
)

// talker is what a server process serves: every answer says who gives it.
type talker struct {
	testpb.UnimplementedTestServiceServer
	id      string
	leaving context.Context
}

// UnaryCall takes long if that is asked for by the size of the answer.
func (s *talker) UnaryCall(_ context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	time.Sleep(time.Millisecond)
	if req.GetResponseSize() > 0 {
		time.Sleep(100 * time.Millisecond)
	}
	return &testpb.SimpleResponse{ServerId: s.id}, nil
}

func (s *talker) CacheableUnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return s.UnaryCall(ctx, req)
}

func (s *talker) StreamingOutputCall(_ *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	return s.talk(stream)
}

func (s *talker) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	return s.talk(stream)
}

// talk sends numbered messages until the caller goes, or the server has to.
func (s *talker) talk(stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	again := time.NewTicker(messageEach)
	defer again.Stop()
	for n := 1; ; n++ {
		message := &testpb.Payload{Body: fmt.Appendf(nil, "%s %d", s.id, n)}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: message}); err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.leaving.Done():
			return nil
		}
	}
}

// serve is the main function of a server process.
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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// The address says where it is, the process which of those that were there.
	id := fmt.Sprintf("%v#%d", listener.Addr(), os.Getpid())
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, &talker{id: id, leaving: ctx})
	fmt.Println(listener.Addr())
	fmt.Println(id)
	if agent := os.Getenv(registerWith); agent != "" {
		err = serveRegistered(ctx, server, listener, agent)
	} else {
		err = server.Serve(listener)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serveRegistered serves until ctx ends, found by its name.
func serveRegistered(ctx context.Context, server *grpc.Server, listener net.Listener, agent string) error {
	registrar, err := consul.NewRegistrar(consul.Config{Address: agent}, consul.TTLCheck{TTL: heartbeat})
	if err != nil {
		return err
	}
	defer registrar.Close()
	return discovery.Serving{
		Server: discovery.GracefulServer(server), Listener: listener,
		Registrar: registrar, Service: "users", Endpoint: discovery.Endpoint{ID: os.Getenv(registerAs)},
		Linger: linger,
	}.Run(ctx)
}

// process is a gRPC server in a process of its own.
type process struct {
	addr string
	id   string // what it answers
	cmd  *exec.Cmd
}

const anyAddr = "127.0.0.1:0"

func startProcess(t *testing.T, addr string, env ...string) *process {
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
	lines := bufio.NewScanner(out)
	for _, said := range []*string{&p.addr, &p.id} {
		if !lines.Scan() {
			t.Fatalf("the server process says no more than %q", p.addr)
		}
		*said = lines.Text()
	}
	if addr != anyAddr && p.addr != addr {
		t.Fatalf("the server process says %q", p.addr)
	}
	return p
}

// startRegistered starts server processes that register themselves.
func startRegistered(t *testing.T, agent *consultest.Agent, n int) []*process {
	t.Helper()
	processes := make([]*process, n)
	for i := range processes {
		processes[i] = startProcess(t, anyAddr, registered(agent, i)...)
	}
	return processes
}

// registered is the environment of the server process number i.
func registered(agent *consultest.Agent, i int) []string {
	return []string{registerWith + "=" + agent.Addr, registerAs + "=users-" + strconv.Itoa(i)}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// kill is SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// terminate is SIGTERM, and waits for the process to end well.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a server that was told to leave: %v", err)
	}
}
