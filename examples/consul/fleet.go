package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/hashicorp/consul/api"
)

// name is the service's.
const name = "fairlead-example"

// fleet is the servers, and the agent that knows of them.
type fleet struct {
	servers     []*server
	agent       *api.Agent
	closeClient func()
}

func startFleet(address string) (*fleet, error) {
	client, closeClient, err := newClient(address)
	if err != nil {
		return nil, err
	}
	f := &fleet{agent: client.Agent(), closeClient: closeClient}
	for i := range 3 {
		s := &server{id: "users-" + strconv.Itoa(i+1), addr: "127.0.0.1:0"}
		if err := s.start(); err != nil {
			f.close()
			return nil, err
		}
		f.servers = append(f.servers, s)
	}
	return f, nil
}

// register tells the agent of a server, which the agent then calls every second
// to see whether it is well. Registering again updates what is known.
func (f *fleet) register(s *server, weight int) error {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	return f.agent.ServiceRegister(&api.AgentServiceRegistration{
		ID: s.id, Name: name, Address: host, Port: number,
		Weights: &api.AgentWeights{Passing: weight, Warning: 1},
		Check: &api.AgentServiceCheck{
			CheckID: "check:" + s.id, Status: api.HealthPassing, // until the first look
			HTTP: fmt.Sprintf("http://%s/health", s.addr), Interval: "1s", Timeout: "500ms",
		},
	})
}

// close leaves nothing behind, neither processes nor registrations.
func (f *fleet) close() {
	for _, s := range f.servers {
		_ = f.agent.ServiceDeregister(s.id) // it may not be registered
		s.kill()
	}
	f.closeClient()
}

// newClient returns a client of the agent at addr, empty meaning that of
// CONSUL_HTTP_ADDR, and a function that closes its connections.
func newClient(addr string) (*api.Client, func(), error) {
	config := api.DefaultConfig()
	if addr != "" {
		config.Address = addr
	}
	client, err := api.NewClient(config)
	return client, config.Transport.CloseIdleConnections, err
}
