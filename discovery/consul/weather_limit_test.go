package consul_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

// tap passes connections on to an agent, one by one, and counts them.
func tap(t *testing.T, addr string) (tapped string, conns *atomic.Int64) {
	t.Helper()
	conns = new(atomic.Int64)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() { splice(conn, addr) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String(), conns
}

// splice joins conn to addr until either side ends.
func splice(conn net.Conn, addr string) {
	defer conn.Close()
	agent, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer agent.Close()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(agent, conn); agent.Close(); conn.Close() })
	wg.Go(func() { _, _ = io.Copy(conn, agent); agent.Close(); conn.Close() })
	wg.Wait()
}

// TestConnectionLimit has more watches than the agent takes connections over
// plain HTTP. Those that are in are followed, also while Refresh asks for more
// connections; the others yield errors, with at most 14 connections each in 2 s,
// and are in within 32 s once there is room.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	const room, extra = 6, 3
	agent := consultest.Start(t, consultest.WithConfig(
		fmt.Sprintf("limits { http_max_conns_per_client = %d }", room+1))) // one is the test's own
	name := func(i int) string { return fmt.Sprintf("s%d", i) }
	for i := range room + extra {
		enlistAs(t, agent, name(i), name(i), 80)
	}
	addr, conns := tap(t, agent.Addr)
	resolver := newResolver(t, consul.Config{Address: addr})
	var in, out []*follower
	for i := range room {
		f := follow(t, resolver, name(i))
		f.right(soon, "10.0.0.1:80")
		f.quiet(50 * time.Millisecond) // it waits by now
		in = append(in, f)
	}
	began := conns.Load()
	for i := range extra {
		out = append(out, follow(t, resolver, name(room+i)))
	}
	for i, f := range in {
		resolver.Refresh(name(i)) // too early: it looked less than a second ago
		f.quiet(50 * time.Millisecond)
	}
	var wg sync.WaitGroup
	for _, f := range out {
		wg.Go(func() {
			if n := f.calm(2 * time.Second); n < 2 {
				t.Errorf("%d errors from a watch that is kept out, want some", n)
			}
		})
	}
	wg.Wait()
	if n := conns.Load() - began; n > extra*14 {
		t.Errorf("%d connections by %d watches in 2 s, want at most 14 each", n, extra)
	} else {
		t.Logf("%d connections by %d watches in 2 s", n, extra)
	}
	for i, f := range in {
		resolver.Refresh(name(i))
		f.calm(20 * time.Millisecond)
	}
	for i, f := range in {
		enlistAs(t, agent, name(i), name(i), 81)
		f.right(soon, "10.0.0.1:81")
	}
	for _, f := range in[:extra] {
		f.stop()
	}
	for _, f := range out {
		f.right(healed, "10.0.0.1:80")
	}
}

// TestRateLimit has a client agent that passes 10 queries a second on to its
// servers, and 40 watches that begin together. Each has its set within 40 s,
// with at most 20 queries.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	const watches = 40
	agent := consultest.StartCluster(t, consultest.WithConfig(`limits { rpc_rate = 10, rpc_max_burst = 10 }`)).Agent
	enlist(t, agent, "u1", 80)
	addr, requests := counter(t, agent)
	resolver := newResolver(t, consul.Config{Address: addr})
	var followers []*follower
	for range watches {
		followers = append(followers, follow(t, resolver, "users"))
	}
	refused := 0
	for _, f := range followers {
		for e := f.next("event"); !e.has("10.0.0.1:80"); e = f.next("event") {
			if e.err == nil {
				t.Fatalf("got %v, want the set or an error", e)
			}
			refused++
		}
	}
	if refused == 0 {
		t.Error("no query was refused")
	}
	if n := requests.Load(); n > watches*20 {
		t.Errorf("%d queries, want at most 20 for each of %d watches", n, watches)
	} else {
		t.Logf("%d queries by %d watches, %d refused", n, watches, refused)
	}
}
