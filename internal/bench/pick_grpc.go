package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	orca "github.com/cncf/xds/go/xds/data/orca/v3"
	"github.com/zeromicro/go-zero/zrpc"
	lb "google.golang.org/grpc/balancer"
	_ "google.golang.org/grpc/balancer/leastrequest"
	_ "google.golang.org/grpc/balancer/ringhash"
	_ "google.golang.org/grpc/balancer/roundrobin"
	_ "google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// The pickers of gRPC's balancers, and of go-zero's, which are such.
var (
	grpcRoundRobin         = grpcChooser("grpc-go round_robin", roundRobin, nil)
	grpcWeightedRoundRobin = grpcChooser("grpc-go weighted_round_robin", weightedRoundRobin, reportLoad)
	grpcLeastRequest       = grpcChooser("grpc-go least_request", leastRequest, nil)
	grpcRingHash           = grpcChooser("grpc-go ring_hash", ringHash, nil)
	zeroP2C                = grpcChooser("go-zero p2c_ewma", p2cEWMA, nil)
	zeroConsistentHash     = grpcChooser("go-zero consistent_hash", consistentHash, nil)
)

// grpcPolicy is a balancer that is registered with gRPC.
type grpcPolicy struct {
	name   string
	config string // in JSON; empty where it takes none
	atOnce bool   // it bears connections that come up while it is updated
	most   int    // endpoints at which it is started; 0 is any number
}

var (
	roundRobin         = grpcPolicy{name: "round_robin", config: "{}", atOnce: true}
	weightedRoundRobin = grpcPolicy{name: "weighted_round_robin", config: `{"blackoutPeriod":"0s","weightUpdatePeriod":"0.1s"}`, atOnce: true}
	leastRequest       = grpcPolicy{name: "least_request_experimental", config: `{"choiceCount":2}`, atOnce: true}
	ringHash           = grpcPolicy{name: "ring_hash_experimental", config: `{"requestHashHeader":"user"}`, atOnce: true}
	p2cEWMA            = grpcPolicy{name: "p2c_ewma", most: 1000}
	consistentHash     = grpcPolicy{name: "consistent_hash", most: 100}
)

func grpcChooser(name string, policy grpcPolicy, warm func(*grpcHost) error) chooser {
	return chooser{name: name, most: policy.most, start: func(n int) (worker, error) {
		host, err := newGRPCHost(policy, addresses(n))
		if err != nil {
			return worker{}, err
		}
		if warm != nil {
			if err := warm(host); err != nil {
				host.close()
				return worker{}, err
			}
		}
		return worker{work: host.picks, stop: host.close}, nil
	}}
}

// grpcHost is the ClientConn of a balancer whose endpoints are all connected at
// once, so that nothing is measured but the balancer.
type grpcHost struct {
	lb.ClientConn // what is not here is never called

	balancer lb.Balancer
	config   serviceconfig.LoadBalancingConfig
	numbers  map[lb.SubConn]int
	subs     []*grpcSub

	mu    sync.Mutex
	todo  []func()  // guarded by mu
	state *lb.State // guarded by mu
}

// grpcSub is a connection that is there as soon as it is asked for.
type grpcSub struct {
	lb.SubConn
	host   *grpcHost
	listen func(lb.SubConnState)
	health func(lb.SubConnState)
}

func newGRPCHost(policy grpcPolicy, addrs []string) (*grpcHost, error) {
	builder := lb.Get(policy.name)
	if builder == nil {
		return nil, fmt.Errorf("no balancer is called %q", policy.name)
	}
	h := &grpcHost{numbers: make(map[lb.SubConn]int)}
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
	for range 10 {
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

func (h *grpcHost) NewSubConn(_ []resolver.Address, opts lb.NewSubConnOptions) (lb.SubConn, error) {
	s := &grpcSub{host: h, listen: opts.StateListener}
	h.numbers[s] = len(h.subs)
	h.subs = append(h.subs, s)
	return s, nil
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

func (s *grpcSub) UpdateAddresses([]resolver.Address) {}
func (s *grpcSub) Shutdown()                          {}

func (s *grpcSub) GetOrBuildProducer(lb.ProducerBuilder) (lb.Producer, func()) {
	return nil, func() {}
}

// picks picks n times from the present picker, and tells it that all went well.
func (h *grpcHost) picks(n int) error {
	return h.pickAnd(n, func(lb.SubConn) lb.DoneInfo { return lb.DoneInfo{BytesSent: true, BytesReceived: true} })
}

func (h *grpcHost) pickAnd(n int, done func(lb.SubConn) lb.DoneInfo) error {
	p := h.current().Picker
	const key = "203.0.113.9"
	ctx := zrpc.SetHashKey(metadata.NewOutgoingContext(context.Background(), metadata.Pairs("user", key)), key)
	for range n {
		result, err := p.Pick(lb.PickInfo{FullMethodName: "/users/Get", Ctx: ctx})
		if err != nil {
			return err
		}
		if result.Done != nil {
			result.Done(done(result.SubConn))
		}
	}
	return nil
}

// reportLoad has each endpoint report what weighs it as ours are weighed, until the
// balancer has taken that in.
func reportLoad(h *grpcHost) error {
	report := func(s lb.SubConn) lb.DoneInfo {
		return lb.DoneInfo{ServerLoad: &orca.OrcaLoadReport{RpsFractional: float64(100 * weight(h.numbers[s])), ApplicationUtilization: 0.5}}
	}
	for range 2 {
		if err := h.pickAnd(20*len(h.subs), report); err != nil {
			return err
		}
		time.Sleep(250 * time.Millisecond) // it looks every 100 ms
	}
	return nil
}
