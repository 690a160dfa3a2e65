package discovery_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-go/fairlead/discovery"
)

// net makes channels when it first reads resolv.conf and nsswitch.conf. In a
// bubble of synctest they would belong to it.
func init() { _, _ = net.DefaultResolver.LookupHost(context.Background(), "localhost") }

// script answers a query with a packet, or with none.
type script func(n *nameserver, network string, q *dns.Msg) []byte

// question names what is asked, with a final dot. The empty name is any.
type question struct {
	name  string
	qtype uint16
}

// nameserver is a name server for one set of records, with faults on demand.
type nameserver struct {
	t     *testing.T
	ended chan struct{}

	mu      sync.Mutex
	records []dns.RR            // guarded by mu
	faults  map[question]script // guarded by mu
	asked   []query             // guarded by mu
	flying  int                 // guarded by mu
	flown   int                 // most of flying; guarded by mu
}

type query struct {
	question
	network string
	at      time.Time
}

func newNameserver(t *testing.T, records ...string) *nameserver {
	n := &nameserver{t: t, ended: make(chan struct{})}
	n.set(records...)
	t.Cleanup(func() { close(n.ended) })
	return n
}

// set replaces the records, which are in the form of a zone file.
func (n *nameserver) set(records ...string) {
	n.t.Helper()
	var parsed []dns.RR
	for _, line := range records {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			n.t.Fatalf("record %q: %v", line, err)
		}
		parsed = append(parsed, rr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = parsed
}

// fault makes s answer a question; nil ends that.
func (n *nameserver) fault(q question, s script) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.faults == nil {
		n.faults = make(map[question]script)
	}
	n.faults[q] = s
}

// queries returns those asked so far with the type, in order.
func (n *nameserver) queries(qtype uint16) []query {
	n.mu.Lock()
	defer n.mu.Unlock()
	var of []query
	for _, q := range n.asked {
		if q.qtype == qtype {
			of = append(of, q)
		}
	}
	return of
}

func (n *nameserver) answer(network string, q *dns.Msg) []byte {
	asked := question{strings.ToLower(q.Question[0].Name), q.Question[0].Qtype}
	n.mu.Lock()
	n.asked = append(n.asked, query{asked, network, time.Now()})
	n.flying++
	n.flown = max(n.flown, n.flying)
	s := n.faults[asked]
	for _, wild := range []question{{"", asked.qtype}, {asked.name, 0}, {}} {
		if s == nil {
			s = n.faults[wild]
		}
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.flying--
	}()
	if s == nil {
		s = fromZone
	}
	return s(n, network, q)
}

// fromZone answers as the records say.
func fromZone(n *nameserver, network string, q *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	n.mu.Lock()
	known := n.find(m, q.Question[0].Name, q.Question[0].Qtype)
	n.mu.Unlock()
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	if network == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	return pack(n, m)
}

// find is called with mu held.
func (n *nameserver) find(m *dns.Msg, name string, qtype uint16) (known bool) {
	for _, rr := range n.records {
		if !strings.EqualFold(rr.Header().Name, name) {
			continue
		}
		known = true
		if rr.Header().Rrtype == qtype {
			m.Answer = append(m.Answer, rr)
		}
		if alias, ok := rr.(*dns.CNAME); ok {
			m.Answer = append(m.Answer, rr)
			return n.find(m, alias.Target, qtype)
		}
	}
	return known
}

func pack(n *nameserver, m *dns.Msg) []byte {
	packet, err := m.Pack()
	if err != nil {
		n.t.Errorf("packing %v: %v", m, err)
	}
	return packet
}

// serve listens on a real UDP and a real TCP socket and returns who asks there.
func (n *nameserver) serve() *net.Resolver {
	n.t.Helper()
	tcp, udp := listen(n.t)
	for network, server := range map[string]*dns.Server{"tcp": {Listener: tcp}, "udp": {PacketConn: udp}} {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if packet := n.answer(network, q); packet != nil {
				_, _ = w.Write(packet)
			} else {
				_ = w.Close()
			}
		})
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-ready
		n.t.Cleanup(func() {
			_ = server.Shutdown()
			if err := <-done; err != nil {
				n.t.Errorf("name server on %s: %v", network, err)
			}
		})
	}
	return resolverAt(tcp.Addr().String())
}

// listen returns two sockets with one port.
func listen(t *testing.T) (tcp net.Listener, udp net.PacketConn) {
	t.Helper()
	for range 10 { // a port of TCP's may be somebody's of UDP
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return tcp, udp
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// resolverAt asks the name server at one address, whatever resolv.conf says.
func resolverAt(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
}

// overTCP asks it without datagrams.
func overTCP(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
}

// pipe returns who asks over pipes in memory, for bubbles of synctest.
func (n *nameserver) pipe() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go n.servePipe(ours)
		return theirs, nil
	}}
}

func (n *nameserver) servePipe(c net.Conn) {
	defer c.Close()
	var size uint16
	if binary.Read(c, binary.BigEndian, &size) != nil {
		return
	}
	packet := make([]byte, size)
	q := new(dns.Msg)
	if _, err := io.ReadFull(c, packet); err != nil || q.Unpack(packet) != nil {
		return
	}
	if packet = n.answer("pipe", q); packet == nil {
		_, _ = c.Read(make([]byte, 1)) // until it is given up
		return
	}
	_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
}

// dnsPatience is how long a test waits for what must come.
const dnsPatience = 20 * time.Second

// dnsEvent is one step of a watch.
type dnsEvent struct {
	discovery.Snapshot
	err error
	at  time.Time
}

func (e dnsEvent) addrs() string {
	var addrs []string
	for _, endpoint := range e.Endpoints {
		addrs = append(addrs, endpoint.Addr)
	}
	return strings.Join(addrs, " ")
}

// dnsFollower reads a watch in the background.
type dnsFollower struct {
	t      *testing.T
	events chan dnsEvent
	cancel context.CancelFunc
	ended  chan struct{}
}

func followDNS(t *testing.T, r discovery.Resolver, service string) *dnsFollower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &dnsFollower{t: t, events: make(chan dnsEvent, 10_000), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		for s, err := range r.Watch(ctx, service) {
			f.events <- dnsEvent{s, err, time.Now()}
		}
	}()
	t.Cleanup(f.stop)
	return f
}

// stop ends the watch and checks that it ends within the second it has.
func (f *dnsFollower) stop() {
	f.t.Helper()
	began := time.Now()
	f.cancel()
	<-f.ended
	if took := time.Since(began); took > time.Second {
		f.t.Errorf("the watch ended %v after its context, want within 1 s", took)
	}
}

func (f *dnsFollower) next(what string) dnsEvent {
	f.t.Helper()
	select {
	case e := <-f.events:
		return e
	case <-time.After(dnsPatience):
		f.t.Fatalf("no %s within %v", what, dnsPatience)
	}
	return dnsEvent{}
}

// nextError passes on an error, and nothing else.
func (f *dnsFollower) nextError() error {
	f.t.Helper()
	e := f.next("error")
	if e.err == nil || e.Unknown || len(e.Endpoints) > 0 {
		f.t.Fatalf("got %+v, %v, want an error without a snapshot", e.Snapshot, e.err)
	}
	return e.err
}

// settled returns the next event that is no error.
func (f *dnsFollower) settled(what string) dnsEvent {
	f.t.Helper()
	var last error
	for deadline := time.Now().Add(dnsPatience); time.Now().Before(deadline); {
		e := f.next(what)
		if e.err == nil {
			return e
		}
		last = e.err
	}
	f.t.Fatalf("no %s within %v: %v", what, dnsPatience, last)
	return dnsEvent{}
}

// wants checks that the next event that is no error has these addresses.
func (f *dnsFollower) wants(addrs string) dnsEvent {
	f.t.Helper()
	e := f.settled(addrs)
	if e.Unknown || e.addrs() != addrs {
		f.t.Fatalf("got %q, unknown %v, want %q", e.addrs(), e.Unknown, addrs)
	}
	return e
}

// quiet checks that nothing comes for a while.
func (f *dnsFollower) quiet(d time.Duration) {
	f.t.Helper()
	select {
	case e := <-f.events:
		f.t.Errorf("unwanted event: %+v, %v", e.Snapshot, e.err)
	case <-time.After(d):
	}
}
