package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// spec is what a server is to be.
type spec struct {
	delay  time.Duration // from a request to its answer
	weight int           // what it is registered with where weights are shown
}

// server is a real HTTP server on a real socket. It answers with its ID.
type server struct {
	spec
	id   string
	addr string // empty until the first start, then kept

	http    *http.Server
	serving sync.WaitGroup
}

// listenWithin is how long a revived server waits for its old port: a connection
// of anybody on this machine may have it for a moment.
const listenWithin = 5 * time.Second

func (s *server) start() error {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	s.addr = listener.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(s.answer)}
	s.serving.Go(func() { _ = s.http.Serve(listener) }) // it ends by kill
	return nil
}

func (s *server) listen() (net.Listener, error) {
	if s.addr == "" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		listener, err := net.Listen("tcp", s.addr)
		if err == nil || time.Since(began) > listenWithin {
			return listener, err
		}
	}
}

func (s *server) answer(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(s.delay)
	_, _ = io.WriteString(w, s.id)
}

// kill closes the listener and every connection, those with calls in flight
// included. What is sent to the address from now on is refused.
func (s *server) kill() {
	_ = s.http.Close()
	s.serving.Wait()
}

// fleet is all servers.
type fleet []*server

func startFleet(specs []spec) (fleet, error) {
	var f fleet
	for _, sp := range specs {
		s := &server{spec: sp, id: fmt.Sprintf("%v", sp.delay)}
		if err := s.start(); err != nil {
			f.close()
			return nil, err
		}
		f = append(f, s)
	}
	return f, nil
}

// victim is the server that is killed: a fast one, which all policies call.
func (f fleet) victim() *server { return f[1] }

func (f fleet) close() {
	for _, s := range f {
		s.kill()
	}
}
