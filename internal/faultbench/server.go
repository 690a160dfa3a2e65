package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// What a server is told by its environment.
const (
	serveAt    = "FAIRLEAD_FAULTBENCH_ADDR"
	serveName  = "FAIRLEAD_FAULTBENCH_NAME" // answered in serverHeader
	serveID    = "FAIRLEAD_FAULTBENCH_ID"
	serveAgent = "FAIRLEAD_FAULTBENCH_AGENT"
	serveLog   = "FAIRLEAD_FAULTBENCH_LOG" // the file of what it executed
)

const (
	service      = "users"
	serverHeader = "X-Server"
	checkPath    = "/healthz" // of active checks, which are no requests that count
	callHeader   = "X-Call"   // the ID of a call that may not be retried

	ttl      = 10 * time.Second // a dead server is in the registry for about so long
	linger   = 500 * time.Millisecond
	readSoon = 5 * time.Second
)

// server is an endpoint.
type server struct {
	listener net.Listener
	rpc      *grpc.Server
	fault    atomic.Pointer[Fault]
	requests atomic.Int64
	failures atomic.Int64
	log      *os.File
	ended    context.Context
	body     string
}

// serve is the main function of a server's process.
func serve() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ended, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM) // for good
	s := &server{rpc: grpc.NewServer(), ended: ended, body: strings.Repeat("x", bodySize)}
	s.fault.Store(&Fault{})
	healthpb.RegisterHealthServer(s.rpc, health.NewServer())
	if err := s.open(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	obey(answer{Addr: s.listener.Addr().String()}, s.do)
}

func (s *server) open() error {
	var err error
	if s.log, err = os.OpenFile(os.Getenv(serveLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	s.listener, err = net.Listen("tcp", os.Getenv(serveAt))
	return err
}

func (s *server) do(c command) (answer, error) {
	switch c.Do {
	case "register":
		return answer{}, s.register(c.Addr)
	case "return":
		_, _, err := s.join(c.Addr)
		return answer{}, err
	case "behave":
		s.fault.Store(c.Fault)
		return answer{}, nil
	case "count":
		return answer{Counts: Counts{Requests: s.requests.Load(), Failures: s.failures.Load()}}, nil
	}
	return answer{}, fmt.Errorf("unknown command %q", c.Do)
}

// register serves from now on, and is known under the address when it returns.
func (s *server) register(addr string) error {
	known, failed, err := s.join(addr)
	if err != nil {
		return err
	}
	select {
	case <-known:
		return nil
	case err := <-failed:
		return fmt.Errorf("serving ended: %w", err)
	case <-time.After(readSoon):
		return fmt.Errorf("not registered within %v", readSoon)
	}
}

// join serves and registers in the background. The process ends when it was told
// to and has left properly.
func (s *server) join(addr string) (known <-chan struct{}, failed <-chan error, err error) {
	registrar, err := consul.NewRegistrar(consul.Config{Address: os.Getenv(serveAgent)}, consul.TTLCheck{TTL: ttl})
	if err != nil {
		return nil, nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	announce := &announcer{Registrar: registrar, done: make(chan struct{})}
	serving := discovery.Serving{
		Server:   &http.Server{Handler: s, Protocols: protocols, ReadHeaderTimeout: time.Minute},
		Listener: s.listener, Registrar: announce, Service: service,
		Endpoint: discovery.Endpoint{ID: os.Getenv(serveID), Addr: addr}, Linger: linger,
	}
	ended := make(chan error, 1)
	go func() {
		err := serving.Run(s.ended)
		_ = registrar.Close()
		ended <- err
		if s.ended.Err() != nil {
			os.Exit(0)
		}
	}()
	return announce.done, ended, nil
}

// announcer is a Registrar that tells of its first success.
type announcer struct {
	discovery.Registrar
	done chan struct{}
	told atomic.Bool
}

func (a *announcer) Register(ctx context.Context, service string, e discovery.Endpoint) (discovery.Registration, error) {
	r, err := a.Registrar.Register(ctx, service, e)
	if err == nil && a.told.CompareAndSwap(false, true) {
		close(a.done)
	}
	return r, err
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == checkPath {
		if f := s.fault.Load(); f.Status != 0 && rand.Float64() < f.Share {
			w.WriteHeader(f.Status)
		}
		return
	}
	s.requests.Add(1)
	if id := r.Header.Get(callHeader); id != "" {
		_, _ = s.log.WriteString(id + "\n")
	}
	w.Header().Set(serverHeader, os.Getenv(serveName))
	f := s.fault.Load()
	if f.Status != 0 && rand.Float64() < f.Share {
		s.failures.Add(1)
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		w.WriteHeader(f.Status)
		return
	}
	time.Sleep(max(work, f.Delay))
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		s.rpc.ServeHTTP(w, r)
		return
	}
	_, _ = w.Write([]byte(s.body))
}
