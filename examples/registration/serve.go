package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// heartbeat is the TTL of a registration: the longest silence of a server. It
// says that it is well three times as often.
const heartbeat = 3 * time.Second

// serve is one server: it finds the other service by name, and is found by its
// own. It returns when ctx has ended and the last call was answered.
func serve(ctx context.Context, w io.Writer, service, id string) error {
	ctx, cancel := endWithParent(ctx)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if id == "" {
		id = service + "-" + listener.Addr().String()
	}

	// The client's side: the other service, by its name.
	resolver, err := consul.New(consul.Config{})
	if err != nil {
		return err
	}
	defer resolver.Close()
	mesh, err := fairlead.New(resolver, fairlead.WithTimeout(2*time.Second))
	if err != nil {
		return err
	}
	defer mesh.Close()

	// The server's side: it is found for as long as it says that it is well.
	registrar, err := consul.NewRegistrar(consul.Config{}, consul.TTLCheck{TTL: heartbeat})
	if err != nil {
		return err
	}
	defer registrar.Close()
	serving := discovery.Serving{
		Server:    &http.Server{Handler: services[service](id, mesh.Client())},
		Listener:  listener,
		Registrar: registrar,
		Service:   service,
		Endpoint:  discovery.Endpoint{ID: id},
		Linger:    time.Second,
	}
	fmt.Fprintf(w, "%s listens at %s\n", id, listener.Addr())
	return serving.Run(ctx) // registers now, and leaves the registry first when ctx ends
}
