package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead-go/fairlead/discovery"
)

// nameProcedure is the one method of
//
//	service Users {
//	  rpc Name(google.protobuf.StringValue) returns (google.protobuf.StringValue) {
//	    option idempotency_level = NO_SIDE_EFFECTS;
//	  }
//	}
const nameProcedure = "/fairlead.example.Users/Name"

// work is how long a call takes, so that some are under way at any moment.
const work = 2 * time.Millisecond

// server is a real server on a real socket. It takes Connect's protocol and
// gRPC's, over HTTP/1.1 and HTTP/2.
type server struct {
	id      string
	addr    string
	http    *http.Server
	serving sync.WaitGroup
}

func start(id string) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{id: id, addr: listener.Addr().String()}
	mux := http.NewServeMux()
	mux.Handle(nameProcedure, connect.NewUnaryHandler(nameProcedure, s.name,
		connect.WithIdempotency(connect.IdempotencyNoSideEffects))) // so that GET is taken
	s.http = &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	s.serving.Go(func() { _ = s.http.Serve(listener) }) // it ends by kill
	return s, nil
}

// name answers with who answers.
func (s *server) name(context.Context, *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
	time.Sleep(work)
	return connect.NewResponse(wrapperspb.String(s.id)), nil
}

// kill closes the listener and every connection, those with calls in flight
// included.
func (s *server) kill() {
	_ = s.http.Close()
	s.serving.Wait()
}

// fleet is all servers.
type fleet []*server

func startFleet(ids []string) (fleet, error) {
	var f fleet
	for _, id := range ids {
		s, err := start(id)
		if err != nil {
			f.kill()
			return nil, err
		}
		f = append(f, s)
	}
	return f, nil
}

func (f fleet) endpoints() []discovery.Endpoint {
	var all []discovery.Endpoint
	for _, s := range f {
		all = append(all, discovery.Endpoint{ID: s.id, Addr: s.addr})
	}
	return all
}

func (f fleet) kill() {
	for _, s := range f {
		s.kill()
	}
}
