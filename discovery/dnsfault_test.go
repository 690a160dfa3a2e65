package discovery_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/fairlead-go/fairlead/discovery"
)

func rcode(code int) script {
	return func(n *nameserver, _ string, q *dns.Msg) []byte { return pack(n, new(dns.Msg).SetRcode(q, code)) }
}

func silence(*nameserver, string, *dns.Msg) []byte { return nil }

func late(d time.Duration, s script) script {
	return func(n *nameserver, network string, q *dns.Msg) []byte {
		select {
		case <-time.After(d):
			return s(n, network, q)
		case <-n.ended:
			return nil
		}
	}
}

// raw answers with the query's ID and question, and then anything.
func raw(flags uint16, counts [3]uint16, rest ...byte) script {
	return func(n *nameserver, _ string, q *dns.Msg) []byte { return rawAnswer(n, q, flags, counts, rest) }
}

func rawAnswer(n *nameserver, q *dns.Msg, flags uint16, counts [3]uint16, rest []byte) []byte {
	asked := &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id}, Question: q.Question}
	packet := pack(n, asked)
	binary.BigEndian.PutUint16(packet[2:], flags)
	for i, count := range counts {
		binary.BigEndian.PutUint16(packet[6+2*i:], count)
	}
	return append(packet, rest...)
}

func change(s script, f func([]byte) []byte) script {
	return func(n *nameserver, network string, q *dns.Msg) []byte { return f(s(n, network, q)) }
}

const answerFlags = 0x8180 // an answer, recursion desired and available

// TestDNSFaults lets questions fail at first, then heals, breaks again and heals
// with news: each failure is an error, and never an empty or an unknown service.
func TestDNSFaults(t *testing.T) {
	anything := question{}
	hostA, hostAAAA := question{"users.test.", dns.TypeA}, question{"users.test.", dns.TypeAAAA}
	for _, test := range []struct {
		name   string
		faults map[question]script
	}{
		{"SERVFAIL", map[question]script{anything: rcode(dns.RcodeServerFailure)}},
		{"REFUSED", map[question]script{anything: rcode(dns.RcodeRefused)}},
		{"NOTIMP", map[question]script{anything: rcode(dns.RcodeNotImplemented)}},
		{"FORMERR", map[question]script{anything: rcode(dns.RcodeFormatError)}},
		{"YXDOMAIN", map[question]script{anything: rcode(dns.RcodeYXDomain)}},
		{"BADVERS in EDNS", map[question]script{anything: func(n *nameserver, _ string, q *dns.Msg) []byte {
			m := new(dns.Msg).SetRcode(q, dns.RcodeBadVers)
			m.SetEdns0(1232, false)
			return pack(n, m)
		}}},
		{"black hole", map[question]script{anything: silence}},
		{"answer beyond the timeout", map[question]script{anything: late(time.Second, fromZone)}},
		{"lame server", map[question]script{anything: raw(0x8000, [3]uint16{})}},

		{"A fails after AAAA had no data", map[question]script{hostA: late(50*time.Millisecond, rcode(dns.RcodeServerFailure))}},
		{"A refused after AAAA had no data", map[question]script{hostA: late(50*time.Millisecond, rcode(dns.RcodeRefused))}},
		{"A malformed after AAAA had no data", map[question]script{hostA: late(50*time.Millisecond, raw(answerFlags, [3]uint16{1}, 0xff))}},
		{"A silent after AAAA had no data", map[question]script{hostA: silence}},
		{"AAAA fails and A is unknown", map[question]script{hostA: rcode(dns.RcodeNameError), hostAAAA: rcode(dns.RcodeServerFailure)}},

		{"no answer in a packet", map[question]script{anything: func(*nameserver, string, *dns.Msg) []byte { return []byte("hello") }}},
		{"header alone", map[question]script{anything: change(fromZone, func(b []byte) []byte { return b[:12] })}},
		{"cut off", map[question]script{anything: change(fromZone, func(b []byte) []byte { return b[:len(b)-3] })}},
		{"foreign ID", map[question]script{anything: change(fromZone, func(b []byte) []byte { b[0] ^= 0xff; return b })}},
		{"foreign question", map[question]script{anything: change(fromZone, func(b []byte) []byte { b[13] ^= 1; return b })}},
		{"promised and missing records", map[question]script{anything: raw(answerFlags, [3]uint16{7})}},
		{"a name that points at itself", map[question]script{anything: change(
			raw(answerFlags, [3]uint16{1}, 0xc0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1),
			func(b []byte) []byte { b[len(b)-15] = byte(len(b) - 16); return b })}},
		{"short address", map[question]script{{"users.test.", 0}: raw(answerFlags, [3]uint16{1}, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 2, 10, 0)}},
		{"truncated for ever", map[question]script{anything: func(n *nameserver, network string, q *dns.Msg) []byte {
			if network == "tcp" {
				return nil
			}
			return rawAnswer(n, q, answerFlags|0x0200, [3]uint16{}, nil)
		}}},
	} {
		services := []string{"users.test:80"}
		if test.faults[question{}] != nil {
			services = append(services, "_http._tcp.users.test")
		}
		for _, service := range services {
			t.Run(test.name+" of "+service, func(t *testing.T) {
				t.Parallel()
				testDNSFault(t, service, test.faults)
			})
		}
	}
}

func testDNSFault(t *testing.T, service string, faults map[question]script) {
	records := []string{"users.test. 0 IN A 10.0.0.1", "_http._tcp.users.test. 60 IN SRV 0 1 80 users.test."}
	n := newNameserver(t, records...)
	setFaults := func(on bool) {
		for q, s := range faults {
			if !on {
				s = nil
			}
			n.fault(q, s)
		}
	}
	setFaults(true)
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		Resolver: n.serve(), Interval: 100 * time.Millisecond, Timeout: 200 * time.Millisecond,
	}), service)
	t.Logf("%v", f.nextError())
	setFaults(false)
	f.wants("10.0.0.1:80")
	setFaults(true)
	f.nextError()
	n.set("users.test. 0 IN A 10.0.0.2", records[1])
	setFaults(false)
	f.wants("10.0.0.2:80")
}

// TestDNSNotFound pins what Go's resolver takes for "no such host": an
// authoritative no, an empty answer, and a referral that carries more than names.
func TestDNSNotFound(t *testing.T) {
	glue := append([]byte{0xc0, 12, 0, 1, 0, 1}, 0, 0, 0, 0, 0, 4, 10, 0, 0, 9)
	for name, s := range map[string]script{
		"NXDOMAIN":             rcode(dns.RcodeNameError),
		"no data":              raw(answerFlags, [3]uint16{}),
		"referral with glue":   raw(0x8000, [3]uint16{0, 0, 1}, glue...),
		"alias without target": raw(answerFlags, [3]uint16{1}, 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0xc0, 12),
	} {
		for _, service := range []string{"users.test:80", "_http._tcp.users.test"} {
			n := newNameserver(t)
			n.fault(question{}, s)
			e := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.serve()}), service).next(name)
			if e.err != nil || !e.Unknown {
				t.Errorf("%s of %s: %+v, %v, want Unknown", name, service, e.Snapshot, e.err)
			}
		}
	}
}

// TestDNSOneFamilyFails: what the other family says counts, and what was known of
// the failed one stays.
func TestDNSOneFamilyFails(t *testing.T) {
	n := newNameserver(t, "users.test. 0 IN A 10.0.0.1", "users.test. 0 IN AAAA fd00::1")
	aaaa := question{"users.test.", dns.TypeAAAA}
	n.fault(aaaa, rcode(dns.RcodeServerFailure))
	var log bytes.Buffer
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}), "users.test:80")
	f.wants("10.0.0.1:80")
	n.fault(aaaa, nil)
	f.wants("10.0.0.1:80 [fd00::1]:80")
	n.fault(aaaa, rcode(dns.RcodeRefused))
	n.set("users.test. 0 IN A 10.0.0.2")
	f.wants("10.0.0.2:80 [fd00::1]:80")
	n.fault(aaaa, nil)
	f.wants("10.0.0.2:80")
	n.fault(aaaa, rcode(dns.RcodeServerFailure))
	n.set("users.test. 0 IN A 10.0.0.3")
	f.wants("10.0.0.3:80")
	f.stop()
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "host=users.test.") {
		t.Errorf("logged, want one warning that names users.test.:\n%s", log.String())
	}
}

// An address that cannot be dialled does not make an empty service of one whose
// other question failed.
func TestDNSOneFamilyFailsAndOneIsBlocked(t *testing.T) {
	n := newNameserver(t, "users.test. 0 IN A 0.0.0.0", "users.test. 0 IN AAAA fd00::1")
	aaaa := question{"users.test.", dns.TypeAAAA}
	n.fault(aaaa, rcode(dns.RcodeServerFailure))
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}), "users.test:80")
	f.nextError()
	n.fault(aaaa, nil)
	f.wants("[fd00::1]:80")
	n.set("users.test. 0 IN A 0.0.0.0")
	f.wants("")
}

// TestDNSTargetFails is TestDNSOneFamilyFails for the targets of SRV records.
func TestDNSTargetFails(t *testing.T) {
	records := []string{"users.test. 0 IN SRV 0 1 80 a.test.", "users.test. 0 IN SRV 0 1 80 b.test."}
	n := newNameserver(t, append(records, "a.test. 0 IN A 10.0.0.1", "b.test. 0 IN A 10.0.0.2")...)
	a, b := question{"a.test.", 0}, question{"b.test.", 0}
	n.fault(b, rcode(dns.RcodeServerFailure))
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		SRV: true, Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}), "users.test")
	f.wants("10.0.0.1:80")
	n.fault(b, nil)
	f.wants("10.0.0.1:80 10.0.0.2:80")
	n.fault(b, rcode(dns.RcodeServerFailure))
	n.set(append(records, "a.test. 0 IN A 10.0.0.3")...)
	f.wants("10.0.0.2:80 10.0.0.3:80")
	n.fault(a, rcode(dns.RcodeServerFailure))
	f.nextError()
	n.fault(a, nil)
	n.fault(b, nil)
	f.wants("10.0.0.3:80")
	n.set()
	f.wants("")
	n.set(append(records, "a.test. 0 IN A 10.0.0.4", "b.test. 0 IN A 10.0.0.5")...)
	n.fault(b, rcode(dns.RcodeServerFailure))
	f.wants("10.0.0.4:80")
}

// TestDNSBackupTargetFails: what was known of a backup's targets stays too, though
// the better priority was asked first.
func TestDNSBackupTargetFails(t *testing.T) {
	records := []string{
		"users.test. 0 IN SRV 10 1 80 gone.test.", "users.test. 0 IN SRV 15 1 80 gone.test.",
		"users.test. 0 IN SRV 20 1 80 a.test.", "users.test. 0 IN SRV 20 1 80 b.test.",
	}
	n := newNameserver(t, append(records, "a.test. 0 IN A 10.0.0.1", "b.test. 0 IN A 10.0.0.2")...)
	a, b := question{"a.test.", 0}, question{"b.test.", 0}
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		SRV: true, Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}), "users.test")
	f.wants("10.0.0.1:80 10.0.0.2:80")
	n.fault(b, rcode(dns.RcodeServerFailure))
	n.set(append(records, "a.test. 0 IN A 10.0.0.3")...)
	f.wants("10.0.0.2:80 10.0.0.3:80")
	n.fault(a, rcode(dns.RcodeServerFailure))
	f.nextError()
	n.set(append(records, "a.test. 0 IN A 10.0.0.4")...)
	n.fault(a, nil)
	f.wants("10.0.0.2:80 10.0.0.4:80")
	n.fault(b, nil)
	f.wants("10.0.0.4:80")
}

// A name without a dot is asked for both families at once, so that a search list
// is walked once. What fails of it is a failure too, whichever comes first.
func TestDNSSearchedNameFails(t *testing.T) {
	failed, absent := rcode(dns.RcodeServerFailure), rcode(dns.RcodeNameError)
	for name, faults := range map[string][2]script{
		"A first":    {failed, late(50*time.Millisecond, absent)},
		"AAAA first": {late(50*time.Millisecond, failed), absent},
	} {
		n := newNameserver(t, "users. 0 IN A 10.0.0.1")
		n.fault(question{"users.", dns.TypeA}, faults[0])
		n.fault(question{"users.", dns.TypeAAAA}, faults[1])
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.serve(), Interval: 100 * time.Millisecond}), "users:80")
		t.Logf("%s: %v", name, f.nextError())
		n.fault(question{"users.", dns.TypeA}, nil)
		n.fault(question{"users.", dns.TypeAAAA}, nil)
		f.wants("10.0.0.1:80")
		n.set("users. 0 IN A 10.0.0.1", "users. 0 IN AAAA fd00::1")
		f.wants("10.0.0.1:80 [fd00::1]:80")
		n.fault(question{"users.", dns.TypeAAAA}, failed)
		f.nextError()
	}
}

// An address that was gone must not come back because a later question failed.
func TestDNSForgetsWhatIsGone(t *testing.T) {
	n := newNameserver(t, "users.test. 0 IN A 10.0.0.1")
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}), "users.test:80")
	f.wants("10.0.0.1:80")
	n.set()
	f.wants("")
	n.fault(question{"", dns.TypeA}, rcode(dns.RcodeServerFailure))
	n.set("users.test. 0 IN AAAA fd00::1")
	f.wants("[fd00::1]:80")
}

// Nor must a target's, when the SRV records themselves were gone.
func TestDNSForgetsTargetsOfGoneRecords(t *testing.T) {
	records := []string{
		"users.test. 0 IN SRV 0 1 80 a.test.", "users.test. 0 IN SRV 0 1 80 b.test.",
		"a.test. 0 IN A 10.0.0.1", "b.test. 0 IN A 10.0.0.2",
	}
	n := newNameserver(t, records...)
	f := followDNS(t, discovery.DNS(discovery.DNSConfig{
		SRV: true, Resolver: n.serve(), Interval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}), "users.test")
	f.wants("10.0.0.1:80 10.0.0.2:80")
	n.set()
	f.wants("")
	n.fault(question{"b.test.", 0}, rcode(dns.RcodeServerFailure))
	n.set(records...)
	f.wants("10.0.0.1:80")
}

// A socket that nobody listens at is an error, and the watch goes on.
func TestDNSNobodyListens(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, service := range []string{"users.test:80", "_http._tcp.users.test"} {
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: resolverAt(l.LocalAddr().String()), Interval: 100 * time.Millisecond}), service)
		f.nextError()
		f.nextError()
	}
}

// A watch ends at once, also inside a question that nobody answers, and closes
// the sockets that it asked by.
func TestDNSEndsInsideALookUp(t *testing.T) {
	for _, service := range []string{"users.test:80", "users:80", "_http._tcp.users.test"} {
		n := newNameserver(t)
		n.fault(question{}, silence)
		open := &openConns{resolver: n.serve(), conns: make(chan net.Conn, 100)}
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: open.count()}), service)
		conn := <-open.conns
		f.stop()
		// Go itself would close it after 5 s.
		if !holdsWithin(3*time.Second, func() bool { _, err := conn.Write([]byte{0}); return err != nil }) {
			t.Errorf("%s: a socket is still open 3 s after the watch ended", service)
		}
	}
}

// holdsWithin polls until ok holds, or d has passed.
func holdsWithin(d time.Duration, ok func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(d); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// openConns tells of each connection of a resolver.
type openConns struct {
	resolver *net.Resolver
	conns    chan net.Conn
}

func (o *openConns) count() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := o.resolver.Dial(ctx, network, addr)
		if err == nil {
			o.conns <- c
		}
		return c, err
	}}
}

// FuzzDNSAnswer lets a name server say anything at all.
func FuzzDNSAnswer(f *testing.F) {
	f.Add(uint16(answerFlags), uint16(1), uint16(0), []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1})
	f.Add(uint16(answerFlags), uint16(1), uint16(0), []byte{0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 80, 1, 'a', 0})
	f.Add(uint16(0x8002), uint16(0), uint16(9), []byte{0xc0, 0xc0})
	f.Fuzz(func(t *testing.T, flags, answers, additional uint16, rest []byte) {
		n := newNameserver(t)
		n.fault(question{}, raw(flags, [3]uint16{answers, 0, additional}, rest...))
		r := discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Timeout: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		for _, service := range []string{"users.test:80", "_http._tcp.users.test"} {
			for s, err := range r.Watch(t.Context(), service) {
				if err != nil && !cmp.Equal(s, discovery.Snapshot{}) || s.Unknown && len(s.Endpoints) > 0 {
					t.Errorf("%s: %+v, %v", service, s, err)
				}
				for _, e := range s.Endpoints {
					if err := e.Validate(); err != nil {
						t.Errorf("%s: %v", service, err)
					}
				}
				break
			}
		}
	})
}
