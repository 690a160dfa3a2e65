package main

import (
	lb "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// grpcSub is a connection that is there as soon as it is asked for.
type grpcSub struct {
	lb.SubConn // what is not here is never called

	host   *grpcHost
	addr   string
	listen func(lb.SubConnState)
	health func(lb.SubConnState) // of balancers that ask for it
}

func (s *grpcSub) Connect() { s.become(connectivity.Connecting); s.become(connectivity.Ready) }

func (s *grpcSub) become(state connectivity.State) {
	s.host.later(func() { s.listen(lb.SubConnState{ConnectivityState: state}) })
}

func (s *grpcSub) RegisterHealthListener(f func(lb.SubConnState)) {
	s.host.later(func() {
		s.health = f
		if f != nil {
			f(lb.SubConnState{ConnectivityState: connectivity.Ready})
		}
	})
}

// turn has its server be found well or not: by a health check, where the balancer
// listens to such.
func (s *grpcSub) turn(state connectivity.State) {
	if s.health != nil {
		s.health(lb.SubConnState{ConnectivityState: state})
	} else {
		s.listen(lb.SubConnState{ConnectivityState: state})
	}
	s.host.settle()
}

func (s *grpcSub) UpdateAddresses([]resolver.Address) {}

func (s *grpcSub) Shutdown() {
	s.host.gone(s)
	s.become(connectivity.Shutdown)
}

func (s *grpcSub) GetOrBuildProducer(lb.ProducerBuilder) (lb.Producer, func()) {
	return nil, func() {}
}
