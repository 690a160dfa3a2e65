package discovery_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead-go/fairlead/discovery"
)

// lookUps returns when the name server was asked, and the gaps in between. A
// question that Go repeats by itself counts once.
func lookUps(n *nameserver, qtype uint16) (at []time.Time, gaps []time.Duration) {
	for _, q := range n.queries(qtype) {
		if len(at) > 0 && q.at.Equal(at[len(at)-1]) {
			continue
		}
		if len(at) > 0 {
			gaps = append(gaps, q.at.Sub(at[len(at)-1]))
		}
		at = append(at, q.at)
	}
	return at, gaps
}

func TestDNSAtRest(t *testing.T) {
	for name, service := range map[string]string{"A": "users.test:80", "SRV": "_http._tcp.users.test", "unknown": "nobody.test:80"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNameserver(t, "users.test. 60 IN A 10.0.0.1", "_http._tcp.users.test. 60 IN SRV 0 1 80 users.test.")
				f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe()}), service)
				f.next("snapshot")
				f.quiet(time.Hour)
				f.stop()
				at, gaps := lookUps(n, dns.TypeA)
				if len(at) != len(n.queries(dns.TypeA)) || len(at) < 3600/11 || len(at) > 3600/9+1 {
					t.Errorf("%d look-ups by %d questions in an hour, want about 360 by as many", len(at), len(n.queries(dns.TypeA)))
				}
				least, most := slices.Min(gaps), slices.Max(gaps)
				if least < 9*time.Second || least > 9200*time.Millisecond || most > 11*time.Second || most < 10800*time.Millisecond {
					t.Errorf("gaps from %v to %v, want 10 s ± 10 %%", least, most)
				}
			})
		})
	}
}

func TestDNSChangeIsSeenWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t, "users.test. 60 IN A 10.0.0.1")
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Interval: time.Minute}), "users.test:80")
		f.wants("10.0.0.1:80")
		time.Sleep(30 * time.Second)
		n.set("users.test. 60 IN A 10.0.0.2")
		synctest.Wait()
		time.Sleep(36 * time.Second)
		synctest.Wait()
		f.wants("10.0.0.2:80")
	})
}

// A first look-up that fails is tried again in milliseconds, and a long outage
// costs no more than the interval allows.
func TestDNSBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t, "users.test. 60 IN A 10.0.0.1")
		n.fault(question{}, rcode(dns.RcodeServerFailure))
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe()}), "users.test:80")
		time.Sleep(time.Hour)
		at, gaps := lookUps(n, dns.TypeA)
		if first := gaps[0]; first > 25*time.Millisecond {
			t.Errorf("tried again after %v, want 25 ms at most", first)
		}
		if second := gaps[1]; second > 50*time.Millisecond {
			t.Errorf("tried a third time after %v, want 50 ms at most", second)
		}
		// U(0, 10 s) has a mean of 5 s: 720 ± 16 look-ups, 10 before the back-off is that long.
		if len(at) < 620 || len(at) > 830 || slices.Max(gaps) > 10*time.Second {
			t.Errorf("%d look-ups in an hour, the longest pause %v, want about 720 and 10 s at most", len(at), slices.Max(gaps))
		}
		for len(f.events) > 0 {
			f.nextError()
		}
		n.fault(question{}, nil)
		healed := time.Now()
		if e := f.wants("10.0.0.1:80"); e.at.Sub(healed) > 10*time.Second {
			t.Errorf("seen %v after it healed, want 10 s at most", e.at.Sub(healed))
		}
		n.fault(question{}, rcode(dns.RcodeServerFailure))
		f.nextError()
		n.set("users.test. 60 IN A 10.0.0.2")
		n.fault(question{}, nil)
		healed = time.Now()
		if e := f.wants("10.0.0.2:80"); e.at.Sub(healed) > 25*time.Millisecond {
			t.Errorf("seen %v after it healed, want 25 ms at most: a success ends the back-off", e.at.Sub(healed))
		}
	})
}

func TestDNSRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t, "users.test. 60 IN A 10.0.0.1")
		r := discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Interval: time.Hour})
		f := followDNS(t, r, "users.test:80")
		f.wants("10.0.0.1:80")
		for _, test := range []struct {
			rest, within time.Duration
			addr         string
		}{
			{time.Minute, 0, "10.0.0.2"},
			{100 * time.Millisecond, 900 * time.Millisecond, "10.0.0.3"},
		} {
			time.Sleep(test.rest)
			n.set("users.test. 60 IN A " + test.addr)
			asked := time.Now()
			r.Refresh("users.test:80")
			if e := f.wants(test.addr + ":80"); e.at.Sub(asked) != test.within {
				t.Errorf("Refresh %v after a look-up was obeyed after %v, want %v", test.rest, e.at.Sub(asked), test.within)
			}
		}
		before := len(n.queries(dns.TypeA))
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
			r.Refresh("users.test:80")
			r.Refresh("nobody.test")
		}
		if obeyed := len(n.queries(dns.TypeA)) - before; obeyed < 55 || obeyed > 61 {
			t.Errorf("6000 calls of Refresh in a minute made %d look-ups, want 60", obeyed)
		}
		f.quiet(time.Minute)
		f.stop()
		r.Refresh("users.test:80") // nobody watches
	})
}

// Refresh also cuts a back-off short.
func TestDNSRefreshInBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t, "users.test. 60 IN A 10.0.0.1")
		n.fault(question{}, rcode(dns.RcodeServerFailure))
		r := discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Interval: time.Hour})
		f := followDNS(t, r, "users.test:80")
		time.Sleep(24 * time.Hour) // the back-off is at its longest
		n.fault(question{}, nil)
		for len(f.events) > 0 {
			f.nextError()
		}
		asked := time.Now()
		r.Refresh("users.test:80")
		if e := f.wants("10.0.0.1:80"); e.at.Sub(asked) > time.Second {
			t.Errorf("obeyed after %v, want 1 s at most", e.at.Sub(asked))
		}
	})
}

// Go asks a second time, or the next name server, 5 s after a packet was lost.
// A look-up lasts long enough for that.
func TestDNSLostPacket(t *testing.T) {
	for _, service := range []string{"users.test:80", "_http._tcp.users.test"} {
		synctest.Test(t, func(t *testing.T) {
			n := newNameserver(t, "users.test. 60 IN A 10.0.0.1", "_http._tcp.users.test. 60 IN SRV 0 1 80 users.test.")
			began := time.Now()
			n.fault(question{}, func(n *nameserver, network string, q *dns.Msg) []byte {
				if time.Since(began) < time.Second {
					return nil
				}
				return fromZone(n, network, q)
			})
			f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe()}), service)
			if e := f.next("snapshot"); e.err != nil || e.addrs() != "10.0.0.1:80" || e.at.Sub(began) < time.Second {
				t.Errorf("%s: got %q, %v after %v", service, e.addrs(), e.err, e.at.Sub(began))
			}
		})
	}
}

func TestDNSTimeout(t *testing.T) {
	for _, service := range []string{"users.test:80", "users:80", "_http._tcp.users.test"} {
		synctest.Test(t, func(t *testing.T) {
			n := newNameserver(t)
			n.fault(question{}, silence)
			f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Timeout: 2 * time.Second}), service)
			began := time.Now()
			err := f.nextError()
			if took := time.Since(began); took != 2*time.Second {
				t.Errorf("%s: %v after %v, want an error after 2 s", service, err, took)
			}
			t.Log(err)
		})
	}
}

// What was known of a question that fails for good goes in the end, and the
// service goes on with what is answered.
func TestDNSForgetsWhatFailsForGood(t *testing.T) {
	for _, test := range []struct{ interval, memory time.Duration }{
		{100 * time.Millisecond, 30 * time.Second},
		{10 * time.Second, 30 * time.Second},
		{time.Minute, 3 * time.Minute},
	} {
		t.Run(test.interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testDNSForgets(t, test.interval, test.memory) })
		})
	}
}

func testDNSForgets(t *testing.T, interval, memory time.Duration) {
	n := newNameserver(t, "users.test. 60 IN A 10.0.0.1", "users.test. 60 IN AAAA fd00::1")
	var log bytes.Buffer
	r := discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Interval: interval, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f := followDNS(t, r, "users.test:80")
	f.wants("10.0.0.1:80 [fd00::1]:80")
	n.fault(question{"users.test.", dns.TypeAAAA}, rcode(dns.RcodeServerFailure))
	n.set("users.test. 60 IN A 10.0.0.2")
	time.Sleep(2 * interval)
	failed := f.wants("10.0.0.2:80 [fd00::1]:80").at
	time.Sleep(memory + 2*interval)
	if e := f.wants("10.0.0.2:80"); e.at.Sub(failed) < memory || e.at.Sub(failed) > memory+interval*11/10 {
		t.Errorf("gone after %v, want %v and one interval at most", e.at.Sub(failed), memory)
	}
	f.quiet(2 * memory)
	n.set("users.test. 60 IN A 10.0.0.2", "users.test. 60 IN AAAA fd00::2")
	n.fault(question{"users.test.", dns.TypeAAAA}, nil)
	time.Sleep(2 * interval)
	f.wants("10.0.0.2:80 [fd00::2]:80")
	f.stop()
	if strings.Count(log.String(), "level=WARN") != 2 || strings.Count(log.String(), "has failed for too long") != 1 {
		t.Errorf("logged, want one warning that a part failed and one that it is gone:\n%s", log.String())
	}
}

// The targets of SRV records go as well, and the others stay.
func TestDNSForgetsATargetThatFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t,
			"users.test. 60 IN SRV 10 1 80 gone.test.", "users.test. 60 IN SRV 20 1 80 a.test.", "users.test. 60 IN SRV 20 1 80 b.test.",
			"a.test. 60 IN A 10.0.0.1", "b.test. 60 IN A 10.0.0.2")
		r := discovery.DNS(discovery.DNSConfig{SRV: true, Resolver: n.pipe(), Logger: slog.New(slog.DiscardHandler)})
		f := followDNS(t, r, "users.test")
		f.wants("10.0.0.1:80 10.0.0.2:80")
		n.fault(question{"b.test.", 0}, rcode(dns.RcodeServerFailure))
		f.quiet(30 * time.Second)
		time.Sleep(25 * time.Second)
		f.wants("10.0.0.1:80")
		f.quiet(time.Hour)
	})
}

// The time begins anew after each answer, and not while no question is answered:
// neither an outage nor a slow recovery from it takes anything out.
func TestDNSRemembersThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNameserver(t, "users.test. 60 IN A 10.0.0.1", "users.test. 60 IN AAAA fd00::1")
		a, aaaa := question{"users.test.", dns.TypeA}, question{"users.test.", dns.TypeAAAA}
		f := followDNS(t, discovery.DNS(discovery.DNSConfig{Resolver: n.pipe(), Logger: slog.New(slog.DiscardHandler)}), "users.test:80")
		f.wants("10.0.0.1:80 [fd00::1]:80")
		for range 10 {
			n.fault(aaaa, rcode(dns.RcodeServerFailure))
			f.quiet(29 * time.Second)
			n.fault(aaaa, nil)
			f.quiet(15 * time.Second)
		}
		n.fault(a, rcode(dns.RcodeServerFailure))
		n.fault(aaaa, rcode(dns.RcodeServerFailure))
		time.Sleep(time.Hour)
		for len(f.events) > 0 {
			f.nextError()
		}
		n.fault(a, nil)
		f.wants("10.0.0.1:80 [fd00::1]:80")
		f.quiet(15 * time.Second)
		n.fault(aaaa, nil)
		f.quiet(time.Hour)
	})
}
