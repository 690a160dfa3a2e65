package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	lb "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// grpcHost is the ClientConn of a balancer whose endpoints are all connected at
// once, so that nothing is measured but the balancer.
type grpcHost struct {
	lb.ClientConn // what is not here is never called

	balancer lb.Balancer
	config   serviceconfig.LoadBalancingConfig

	mu    sync.Mutex
	subs  map[string]*grpcSub // by address; guarded by mu
	todo  []func()            // guarded by mu
	state *lb.State           // guarded by mu
}

// newGRPCHost returns one that is ready.
func newGRPCHost(policy grpcPolicy, addrs []string) (*grpcHost, error) {
	builder := lb.Get(policy.name)
	if builder == nil {
		return nil, fmt.Errorf("no balancer is called %q", policy.name)
	}
	h := &grpcHost{subs: make(map[string]*grpcSub)}
	if parser, ok := builder.(lb.ConfigParser); ok && policy.config != "" {
		parsed, err := parser.ParseConfig([]byte(policy.config))
		if err != nil {
			return nil, err
		}
		h.config = parsed
	}
	h.balancer = builder.Build(h, lb.BuildOptions{})
	err := h.open(resolved(addrs), policy.atOnce)
	if err == nil {
		err = h.connect()
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// resolved is what a resolver would say of the addresses.
func resolved(addrs []string) resolver.State {
	state := resolver.State{}
	for _, a := range addrs {
		addr := resolver.Address{Addr: a}
		state.Addresses = append(state.Addresses, addr)
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{addr}})
	}
	return state
}

// update hands the balancer its endpoints, and does what it asks for.
func (h *grpcHost) update(state resolver.State) error {
	err := h.balancer.UpdateClientConnState(lb.ClientConnState{ResolverState: state, BalancerConfig: h.config})
	h.settle()
	return err
}

// open is the first update. With atOnce the connections come up during it: for each
// one that comes up later the balancer looks at all, which takes half a minute for
// ten thousand.
func (h *grpcHost) open(state resolver.State, atOnce bool) error {
	if !atOnce {
		return h.update(state)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var up sync.WaitGroup
		updated := make(chan struct{})
		up.Go(func() { h.settleUntil(updated) })
		err := h.balancer.UpdateClientConnState(lb.ClientConnState{ResolverState: state, BalancerConfig: h.config})
		close(updated)
		up.Wait()
		if err != nil {
			return err
		}
		if h.waiting() == 0 {
			return nil
		}
	}
	h.settle()
	return nil
}

// settleUntil settles until the channel is closed, and leaves what came after that.
func (h *grpcHost) settleUntil(closed <-chan struct{}) {
	for {
		todo := h.take()
		for i, f := range todo {
			select {
			case <-closed:
				h.giveBack(todo[i:])
				return
			default:
				f()
			}
		}
		select {
		case <-closed:
			return
		default:
			runtime.Gosched()
		}
	}
}

// giveBack puts what was taken and not done before all else.
func (h *grpcHost) giveBack(todo []func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.todo = append(todo, h.todo...)
}

// connect picks until all connect that are to: some balancers wait to be asked.
func (h *grpcHost) connect() error {
	for range 100_000 {
		if err := h.picks(1); err == nil && h.current().ConnectivityState == connectivity.Ready {
			return nil
		} else if err != nil && !errors.Is(err, lb.ErrNoSubConnAvailable) {
			return err
		}
		h.settle()
	}
	return errors.New("the balancer does not become ready")
}

func (h *grpcHost) close() { h.balancer.Close(); h.settle() }

// settle does what the balancer asked for, one after another, as a ClientConn does.
func (h *grpcHost) settle() {
	for todo := h.take(); len(todo) > 0; todo = h.take() {
		for _, f := range todo {
			f()
		}
	}
}

// take takes all that is to be done.
func (h *grpcHost) take() []func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	todo := h.todo
	h.todo = nil
	return todo
}

func (h *grpcHost) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.todo)
}

func (h *grpcHost) later(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.todo = append(h.todo, f)
}

func (h *grpcHost) current() *lb.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

func (h *grpcHost) NewSubConn(addrs []resolver.Address, opts lb.NewSubConnOptions) (lb.SubConn, error) {
	s := &grpcSub{host: h, addr: addrs[0].Addr, listen: opts.StateListener}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[s.addr] = s
	return s, nil
}

// at is the connection to an address.
func (h *grpcHost) at(addr string) *grpcSub {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subs[addr]
}

func (h *grpcHost) connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// gone forgets a connection that was shut down.
func (h *grpcHost) gone(s *grpcSub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[s.addr] == s {
		delete(h.subs, s.addr)
	}
}

func (h *grpcHost) UpdateState(s lb.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = &s
}

func (h *grpcHost) ResolveNow(resolver.ResolveNowOptions)   {}
func (h *grpcHost) Target() string                          { return "users" }
func (h *grpcHost) RemoveSubConn(lb.SubConn)                {}
func (h *grpcHost) MetricsRecorder() estats.MetricsRecorder { return noMetrics{} }

// noMetrics records nothing, as a ClientConn without a stats handler does.
type noMetrics struct {
	estats.UnimplementedMetricsRecorder
}
