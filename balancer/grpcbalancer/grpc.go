package grpcbalancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	lb "google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// gRPC's API for resolvers and load balancing policies is experimental. What
// this package uses of it is in this file.

// scheme is that of the targets, and the name of the load balancing policy.
const scheme = "fairlead"

const serviceConfig = `{"loadBalancingConfig":[{"` + scheme + `":{}}]}`

// register is the only way to bring a policy to gRPC: under a global name. What
// belongs to one ClientConn comes with its resolver's State.
var register = sync.OnceFunc(func() { lb.Register(policyBuilder{}) })

func meshOptions(mesh *fairlead.Mesh) []grpc.DialOption {
	register()
	return []grpc.DialOption{
		grpc.WithResolvers(resolverBuilder{mesh}),
		grpc.WithDefaultServiceConfig(serviceConfig), // for who switches the resolver's off
		grpc.WithNoProxy(),
	}
}

// resolverBuilder brings a Mesh to gRPC.
type resolverBuilder struct{ mesh *fairlead.Mesh }

func (b resolverBuilder) Scheme() string { return scheme }

// Build is called whenever a ClientConn leaves idle mode. Its error is that of
// the call which woke the ClientConn.
func (b resolverBuilder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	if b.mesh == nil {
		return nil, unavailable(errors.New("grpcbalancer: the Mesh given to DialOptions is nil"))
	}
	name := target.Endpoint()
	if name == "" || target.URL.Host != "" {
		return nil, unavailable(fmt.Errorf("grpcbalancer: the target is %q, want %s:///service", &target.URL, scheme))
	}
	service, err := b.mesh.Hold(name)
	if err != nil && !errors.Is(err, fairlead.ErrUnknownService) {
		return nil, unavailable(explain(name, err))
	}
	r := &meshResolver{}
	r.service.Store(service)
	h := &holder{mesh: b.mesh, name: name, failed: cc.ReportError, known: func(s *fairlead.Service) {
		r.service.Store(s)
		// The error is for resolvers that can do something about it.
		_ = cc.UpdateState(resolver.State{
			ServiceConfig: cc.ParseServiceConfig(serviceConfig),
			Attributes:    attributes.New(serviceKey{}, s),
		})
	}}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.running.Go(func() { h.run(ctx, service, err) })
	return r, nil
}

// serviceOf returns the name in a target of the form fairlead:///service, and
// none for other targets.
func serviceOf(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != scheme || u.Host != "" {
		return ""
	}
	return resolver.Target{URL: *u}.Endpoint()
}

// serviceKey is where a resolver.State has its *fairlead.Service.
type serviceKey struct{}

// meshResolver hands gRPC the service, once: who serves it, the policy hears
// from the service itself.
type meshResolver struct {
	service atomic.Pointer[fairlead.Service] // nil while it is not to be had
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// ResolveNow is called when a connection is lost or cannot be made.
func (r *meshResolver) ResolveNow(resolver.ResolveNowOptions) {
	if s := r.service.Load(); s != nil {
		s.Refresh()
	}
}

func (r *meshResolver) Close() {
	r.cancel()
	r.running.Wait()
}

type policyBuilder struct{}

func (policyBuilder) Name() string { return scheme }

func (policyBuilder) Build(cc lb.ClientConn, opts lb.BuildOptions) lb.Balancer {
	p := &policy{cc: cc, opts: opts, woken: make(chan struct{}, 1), leaving: make(map[*link]*balancer.Node)}
	p.open, p.close = context.WithCancel(context.Background())
	p.links.Store(&links{})
	p.attempts.New = func() any {
		a := &attempt{policy: p}
		a.done = a.over
		return a
	}
	return p
}

// policy is the load balancing policy of one ClientConn that is not idle: a View
// over the service's nodes, and a link to each of them. One goroutine keeps them
// and the ClientConn's picker up to date; everybody else wakes it.
type policy struct {
	cc       lb.ClientConn
	opts     lb.BuildOptions
	service  *fairlead.Service // nil until gRPC brings it
	view     *balancer.View
	unfollow func()
	attempts sync.Pool
	running  sync.WaitGroup
	woken    chan struct{}   // holds an element when there may be news
	open     context.Context // until the ClientConn is closed, or goes idle
	close    context.CancelFunc

	nodes   []*balancer.Node         // that have links; the goroutine's own
	links   atomic.Pointer[links]    // replaced by the goroutine, never changed
	leaving map[*link]*balancer.Node // whose nodes left, until nothing is in flight there; the goroutine's own
}

// links are those of a policy, by their nodes.
type links map[*balancer.Node]*link

// UpdateClientConnState takes in the service. A ClientConn has one for as long
// as it is not idle.
func (p *policy) UpdateClientConnState(s lb.ClientConnState) error {
	service, _ := s.ResolverState.Attributes.Value(serviceKey{}).(*fairlead.Service)
	switch {
	case p.service != nil:
		return nil
	case service == nil:
		p.cc.UpdateState(lb.State{ConnectivityState: connectivity.TransientFailure, Picker: noService{}})
		return lb.ErrBadResolverState
	}
	p.service = service
	p.view = service.Balancer().View(p.connected)
	p.unfollow = service.Balancer().Follow(p.wake)
	p.running.Go(p.run)
	p.wake()
	return nil
}

func (p *policy) ResolverError(error)                            {}
func (p *policy) UpdateSubConnState(lb.SubConn, lb.SubConnState) {}
func (p *policy) ExitIdle()                                      {} // links never stay idle

func (p *policy) Close() {
	p.close()
	if p.service == nil {
		return
	}
	p.unfollow()
	p.view.Close()
	p.running.Wait()
	p.follow(nil)
	for l := range p.leaving {
		l.close()
	}
}

func (p *policy) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *policy) run() {
	ended := p.service.Ended()
	var look <-chan time.Time // for links to let go
	for {
		select {
		case <-p.open.Done():
			return
		case <-p.woken:
			p.update()
		case <-ended:
			ended = nil
			p.update() // for the calls that wait
		case <-look:
			look = nil
			p.letGo()
		}
		if look == nil && len(p.leaving) > 0 {
			look = time.After(letGoAfter)
		}
	}
}

// update brings links, view and picker up to what is known now. Where the view
// has to follow, another update comes after it.
func (p *policy) update() {
	p.follow(p.service.Balancer().Nodes())
	stale := p.renew()
	for _, n := range p.nodes {
		stale = p.link(n).revive() || stale
	}
	t := p.tally(p.nodes)
	// A new picker, though it is like the old: gRPC asks each but once for a call
	// that has to wait.
	p.cc.UpdateState(lb.State{ConnectivityState: t.state(), Picker: &picker{policy: p}})
	if stale {
		p.view.Rebuild()
	}
}

// tally adds up the links to the nodes. One that is still to be made counts as idle.
func (p *policy) tally(nodes []*balancer.Node) tally {
	var t tally
	for _, n := range nodes {
		conn, seen, failure := connectivity.Idle, false, error(nil)
		if l := p.link(n); l != nil {
			conn, seen, failure = l.status()
			if l.renewed.Load() && conn != connectivity.Ready {
				// Nobody should wait for an endpoint that has just failed.
				conn, failure = connectivity.TransientFailure, errRenewed
			}
		}
		t.add(n.State(), conn, seen, failure)
	}
	return t
}

// follow makes links to new nodes and ends those to nodes that left. Calls in
// flight on them end in peace.
func (p *policy) follow(nodes []*balancer.Node) {
	if slices.Equal(nodes, p.nodes) {
		return
	}
	before, now := *p.links.Load(), make(links, len(nodes))
	for _, n := range nodes {
		if now[n] = before[n]; now[n] == nil {
			now[n] = p.connect(n)
		}
	}
	p.nodes = nodes
	p.links.Store(&now)
	for n, l := range before {
		if now[n] == nil {
			p.leaving[l] = n
		}
	}
}

// letGoAfter is the pause between two looks at links to nodes that left.
const letGoAfter = 100 * time.Millisecond

// letGo ends links to nodes that left, once nothing is in flight there. gRPC could
// end them gracefully at once, but a call that was picked just before would wait,
// to be begun, for the end of all streams of that connection.
func (p *policy) letGo() {
	for l, n := range p.leaving {
		if n.InFlight() == 0 || l.state.Load().ConnectivityState != connectivity.Ready {
			l.close()
			delete(p.leaving, l)
		}
	}
}

// connect makes a link, which begins to connect at once.
func (p *policy) connect(n *balancer.Node) *link {
	l := &link{ClientConn: p.cc, policy: p}
	l.state.Store(&lb.State{ConnectivityState: connectivity.Connecting})
	l.child = lb.Get(pickfirst.Name).Build(l, p.opts)
	l.calls.Lock()
	defer l.calls.Unlock()
	endpoint := resolver.Endpoint{Addresses: []resolver.Address{{Addr: n.Addr()}}}
	// It fails for want of an address alone.
	_ = l.child.UpdateClientConnState(lb.ClientConnState{
		ResolverState: resolver.State{Endpoints: []resolver.Endpoint{endpoint}},
	})
	return l
}

// renew replaces links that may be dead although their connection is open, and
// reports whether there were any: a half-open endpoint is to prove itself over one
// that works. gRPC finds out by pings, which servers refuse unless both sides have
// agreed on them, or after the many minutes that TCP takes.
func (p *policy) renew() bool {
	now, dead := *p.links.Load(), []*link(nil)
	for _, n := range p.nodes {
		l := now[n]
		if !l.doubtful(n) {
			continue
		}
		if dead == nil {
			now = maps.Clone(now)
		}
		dead = append(dead, l)
		now[n] = p.connect(n)
		now[n].renewed.Store(true)
	}
	if dead == nil {
		return false
	}
	p.links.Store(&now)
	for _, l := range dead {
		l.close() // streams that live go on
	}
	return true
}

// link returns the link to a node, nil while there is none.
func (p *policy) link(n *balancer.Node) *link { return (*p.links.Load())[n] }

// connected is the view's filter.
func (p *policy) connected(n *balancer.Node) bool {
	l := p.link(n)
	if l == nil {
		return false
	}
	ready := l.state.Load().ConnectivityState == connectivity.Ready && !l.doubtful(n)
	l.seen.Store(ready)
	return ready
}

// link is a ClientConn's way to one node: a pick_first policy with one address.
// It stands between that policy and the ClientConn.
type link struct {
	lb.ClientConn
	policy *policy
	child  lb.Balancer
	calls  sync.Mutex               // gRPC's policies expect one call at a time
	state  atomic.Pointer[lb.State] // the child's
	seen   atomic.Bool              // what the view was last told
	silent atomic.Bool              // an attempt had no answer in time, and none had since

	renewed atomic.Bool // it took the place of one that fell silent, and never had a connection
}

// errRenewed is why an endpoint is not to be had for a moment.
var errRenewed = errors.New("grpcbalancer: the connection fell silent, and another is not there yet")

// doubtful reports whether the link is to be replaced before it is used again.
func (l *link) doubtful(n *balancer.Node) bool {
	return l.silent.Load() && n.State() == balancer.HalfOpen
}

// NewSubConn has the child hear of its connection when nobody else calls it.
func (l *link) NewSubConn(addrs []resolver.Address, opts lb.NewSubConnOptions) (lb.SubConn, error) {
	heard := opts.StateListener
	opts.StateListener = func(s lb.SubConnState) {
		l.calls.Lock()
		defer l.calls.Unlock()
		heard(s)
	}
	//lint:ignore SA1019 discouraged for policies of one's own; pick_first's call is passed on
	return l.ClientConn.NewSubConn(addrs, opts) //nolint:staticcheck // discouraged for policies of one's own; pick_first's call is passed on
}

func (l *link) exitIdle() {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.child.ExitIdle()
}

func (l *link) close() {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.child.Close()
}

// UpdateState is called by the child, which may hold its lock.
func (l *link) UpdateState(s lb.State) {
	if s.ConnectivityState == connectivity.Ready {
		l.renewed.Store(false)
	}
	l.state.Store(&s)
	l.policy.wake()
}

// revive connects again after the connection was lost, and reports whether the
// view has to be told of a connection won or lost.
func (l *link) revive() (stale bool) {
	conn := l.state.Load().ConnectivityState
	if conn == connectivity.Idle {
		l.exitIdle()
	}
	return l.seen.Load() != (conn == connectivity.Ready)
}

// status returns the link's state, what the view was told, and why there is no
// connection where an attempt has failed.
func (l *link) status() (conn connectivity.State, seen bool, failure error) {
	s := l.state.Load()
	if s.ConnectivityState == connectivity.TransientFailure {
		_, failure = s.Picker.Pick(lb.PickInfo{})
	}
	return s.ConnectivityState, l.seen.Load(), failure
}

// subConn returns the link's connection, nil while there is none.
func (l *link) subConn() lb.SubConn {
	s := l.state.Load()
	if s.ConnectivityState != connectivity.Ready {
		return nil
	}
	r, err := s.Picker.Pick(lb.PickInfo{})
	if err != nil {
		return nil
	}
	return r.SubConn
}

// picker picks by the policy's view.
type picker struct{ policy *policy }

func (p *picker) Pick(pick lb.PickInfo) (lb.PickResult, error) {
	a := p.policy.attempts.Get().(*attempt)
	info := a.pickInfo(pick.Ctx, p.policy.service)
	c := a.call
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	sub, err := p.pick(&a.try, info)
	if err != nil {
		if c != nil && !errors.Is(err, lb.ErrNoSubConnAvailable) {
			c.refusal = err
			if errors.Is(err, breaker.ErrLimit) || info.Full() {
				c.full = p.policy
			}
		}
		a.recycle()
		return lb.PickResult{}, err
	}
	if c == nil {
		return lb.PickResult{SubConn: sub, Done: a.done}, nil
	}
	a.beginLocked(p.policy, pick.FullMethodName)
	return lb.PickResult{SubConn: sub, Done: a.done, Metadata: a.md}, nil
}

// pick leases a node for the attempt, unless the call has a place already, or is to
// wait for one. The view may not know yet that a connection was lost: its node is
// avoided.
func (p *picker) pick(t *try, info *balancer.Info) (lb.SubConn, error) {
	if c := t.call; c != nil {
		lease := c.room
		c.room = balancer.Lease{}
		switch {
		case lease.Node() != nil:
			if l, sub := p.policy.connection(lease.Node()); sub != nil {
				t.lease, t.link = lease, l
				return sub, nil
			}
			lease.Release() // others have found it taken
		case !c.waited && c.core.Queues(p.policy.view):
			return nil, limited(explain(p.policy.service.Name(), breaker.ErrLimit))
		}
	}
	for {
		lease, err := p.policy.view.Pick(info)
		if err != nil {
			return nil, p.policy.refusal(err, info)
		}
		n := lease.Node()
		if sub := p.connect(t, &lease); sub != nil {
			return sub, nil
		}
		if info.Avoids(n) {
			// One that the call tried before is all there is, and it has no connection.
			return nil, p.policy.refusal(balancer.ErrNoEndpoints, info)
		}
		info.Avoid(n)
	}
}

// connect returns the connection to the lease's node, which becomes the attempt's, or
// undoes the lease where there is none.
func (p *picker) connect(t *try, lease *balancer.Lease) lb.SubConn {
	l, sub := p.policy.connection(lease.Node())
	if sub == nil {
		lease.Undo()
		return nil
	}
	t.lease, t.link = *lease, l
	return sub
}

// connection returns the link to a node, and its connection, nil without.
func (p *policy) connection(n *balancer.Node) (*link, lb.SubConn) {
	l := p.link(n)
	if l == nil {
		return nil, nil
	}
	return l, l.subConn()
}

// refusal is what a call is told that finds no node: to wait where one is coming,
// or where the view is just about to learn of one, for then there will be another
// picker; else why. That is no status, so that calls which wait for a connection
// go on waiting; for the others gRPC makes it Unavailable. Only where the Mesh is
// closed is there nothing to wait for.
func (p *policy) refusal(err error, info *balancer.Info) error {
	nodes := p.service.Balancer().Nodes()
	if info.Endpoint != "" {
		nodes = slices.DeleteFunc(nodes, func(n *balancer.Node) bool { return n.ID() != info.Endpoint })
	}
	t := p.tally(nodes)
	switch {
	case isClosed(p.service.Ended()):
		return closedError(p.service.Name())
	case info.Full():
		return limited(explain(p.service.Name(), err)) // a status: who waits for a connection must not wait for room here
	case t.coming || t.usable && errors.Is(err, balancer.ErrNoEndpoints):
		return lb.ErrNoSubConnAvailable
	case t.err() != nil:
		err = t.err()
	}
	return explain(p.service.Name(), err)
}

// noService is the picker of a policy that somebody else's resolver chose.
type noService struct{}

func (noService) Pick(lb.PickInfo) (lb.PickResult, error) {
	return lb.PickResult{}, errors.New("grpcbalancer: the target is none of a Mesh, want " + scheme + ":///service and the options of DialOptions")
}

// attempt is a try as gRPC knows it. It is used again, so that a pick allocates
// nothing.
type attempt struct {
	try
	policy *policy
	done   func(lb.DoneInfo) // over
}

// over is called once, when the attempt has ended or never was.
func (a *attempt) over(info lb.DoneInfo) {
	stream := a.call != nil && a.call.stream.is // somebody may still hold it
	a.end(ending{
		err: info.Err, trailer: info.Trailer, sent: info.BytesSent, received: info.BytesReceived, closing: a.policy.open.Err() != nil,
	})
	if !stream {
		a.recycle()
	}
}

func (a *attempt) recycle() {
	a.try = try{}
	a.policy.attempts.Put(a)
}

// finishers takes out of opts the functions to be called when a call ends: gRPC
// would call them for each of its attempts.
func finishers(opts []grpc.CallOption) (others []grpc.CallOption, finish []func(error)) {
	for _, o := range opts {
		if f, ok := o.(grpc.OnFinishCallOption); ok {
			finish = append(finish, f.OnFinish)
		}
	}
	if finish == nil {
		return opts, nil
	}
	isFinisher := func(o grpc.CallOption) bool { _, ok := o.(grpc.OnFinishCallOption); return ok }
	return slices.DeleteFunc(slices.Clone(opts), isFinisher), finish
}

// aside takes what a call is to be told besides its reply to places of its own, and
// returns how that is brought to the caller's.
func aside(opts []grpc.CallOption) (others []grpc.CallOption, bring func()) {
	others = slices.Clone(opts)
	var moves []func()
	for i, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			header := new(metadata.MD)
			others[i] = grpc.Header(header)
			moves = append(moves, func() { *o.HeaderAddr = *header })
		case grpc.TrailerCallOption:
			trailer := new(metadata.MD)
			others[i] = grpc.Trailer(trailer)
			moves = append(moves, func() { *o.TrailerAddr = *trailer })
		case grpc.PeerCallOption:
			from := new(peer.Peer)
			others[i] = grpc.Peer(from)
			moves = append(moves, func() { *o.PeerAddr = *from })
		}
	}
	return others, func() {
		for _, move := range moves {
			move()
		}
	}
}

// withOnFinish has f called when gRPC's stream is over.
func withOnFinish(opts []grpc.CallOption, f func(error)) []grpc.CallOption {
	return append(slices.Clip(opts), grpc.OnFinish(f))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
