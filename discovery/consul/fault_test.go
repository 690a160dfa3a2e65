package consul_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

// element is an instance as Consul sends it.
func element(id, address, rest string) string {
	return fmt.Sprintf(`{"Node":{"Node":"n","Address":"10.9.9.9"},"Service":{"ID":%q,"Address":%q%s},"Checks":[{"CheckID":"c","Status":"passing"}]}`, id, address, rest)
}

var one = "[" + element("u1", "10.0.0.1", `,"Port":80`) + "]"

// fake is an agent that answers by script: what a real one does not do.
type fake struct {
	addr     string
	requests atomic.Int64
}

func newFake(t *testing.T, serve func(n int64, w http.ResponseWriter, r *http.Request)) *fake {
	t.Helper()
	f := &fake{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(f.requests.Add(1), w, r)
	}))
	f.addr = server.Listener.Addr().String()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

// say answers with an index.
func say(w http.ResponseWriter, index, body string) {
	if index != "" {
		w.Header().Set("X-Consul-Index", index)
	}
	w.Header().Set("X-Consul-LastContact", "0")
	w.Header().Set("X-Consul-KnownLeader", "true")
	_, _ = io.WriteString(w, body)
}

// block holds a waiting query until it is given up.
func block(r *http.Request) { <-r.Context().Done() }

func waits(r *http.Request) bool { return r.URL.Query().Has("index") }

func asksLeader(r *http.Request) bool { return r.URL.Query().Has("consistent") }

// fault is an answer that cannot be used.
type fault struct {
	name   string
	answer func(http.ResponseWriter)
}

func faults() []fault {
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "99999")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, one)
		}
	}
	body := func(s string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { say(w, "7", s) }
	}
	return []fault{
		{"429", status(http.StatusTooManyRequests)},
		{"500", status(http.StatusInternalServerError)},
		{"redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusMovedPermanently)
		}},
		{"204", status(http.StatusNoContent)},
		{"truncated", body(one[:40])},
		{"not closed", body(one[:len(one)-1])},
		{"empty body", body("")},
		{"not JSON", body("<html>captive</html>")},
		{"null", body("null")},
		{"object", body(`{"Error":"x"}`)},
		{"string", body(`"x"`)},
		{"hang up", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		{"endless answer", func(w http.ResponseWriter) {
			say(w, "7", "[")
			chunk := strings.Repeat(element("u1", "10.0.0.1", `,"Port":80`)+",", 1000)
			for written := 0; written < 2*consul.MaxAnswer; written += len(chunk) {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}},
		{"endless error", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			chunk := strings.Repeat("sorry ", 10_000)
			for written := 0; written < 2*consul.MaxAnswer; written += len(chunk) {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		}},
		{"empty without an index", func(w http.ResponseWriter) { say(w, "", "[]") }},
		{"empty from a server without a leader", func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "7")
			w.Header().Set("X-Consul-LastContact", "0")
			w.Header().Set("X-Consul-KnownLeader", "false")
			w.Header().Set("X-Consul-Query-Backend", "blocking-query")
			_, _ = io.WriteString(w, "[]")
		}},
	}
}

// TestFaults begins each watch with answers that cannot be used: an error,
// then a query without an index, whose answer counts. An empty answer is put
// to the leader first, so there are two.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range faults() {
		t.Run(test.name, func(t *testing.T) {
			agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1 || n == 2 && asksLeader(r):
					test.answer(w)
				case waits(r):
					block(r)
				default:
					say(w, "7", one)
				}
			})
			f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
			if e := f.next("error"); e.err == nil || e.Unknown || len(e.Endpoints) > 0 {
				t.Fatalf("got %+v, %v, want an error", e.Snapshot, e.err)
			} else if len(e.err.Error()) > 20_000 {
				t.Errorf("the error has %d bytes", len(e.err.Error()))
			}
			if e := f.next("instance"); !e.has("10.0.0.1:80") {
				t.Fatalf("got %+v, %v, want the instance", e.Snapshot, e.err)
			}
		})
	}
}

// TestFirstRetries checks that a fault at the start costs milliseconds.
func TestFirstRetries(t *testing.T) {
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		switch {
		case n <= 3:
			w.WriteHeader(http.StatusInternalServerError)
		case waits(r):
			block(r)
		default:
			say(w, "7", one)
		}
	})
	began := time.Now()
	f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
	e := f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
	if took := e.at.Sub(began); took > time.Second {
		t.Errorf("three faults cost %v, want less than 1 s", took)
	}
}

// TestOldAnswerAfterAFailedRefresh lets a waiting query, asked before a Refresh
// brought news, return with something older than the news, after another Refresh
// has failed: what is known stays.
func TestOldAnswerAfterAFailedRefresh(t *testing.T) {
	t.Parallel()
	set := func(address string) string { return "[" + element("u1", address, `,"Port":80`) + "]" }
	var looks, flights atomic.Int64
	failed := make(chan struct{})
	agent := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		switch {
		case waits(r) && flights.Add(1) == 1: // at a server that lags
			select {
			case <-failed:
				say(w, "8", set("10.0.0.8"))
			case <-r.Context().Done():
			}
		case waits(r):
			block(r)
		case looks.Add(1) == 1:
			say(w, "7", set("10.0.0.7"))
		case looks.Load() == 2:
			say(w, "10", set("10.0.0.10"))
		default:
			w.WriteHeader(500)
		}
	})
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	f := follow(t, resolver, "users")
	f.until("first set", func(e event) bool { return e.has("10.0.0.7:80") })
	f.quiet(1100 * time.Millisecond)
	resolver.Refresh("users")
	f.until("news", func(e event) bool { return e.has("10.0.0.10:80") })
	f.quiet(1100 * time.Millisecond)
	resolver.Refresh("users")
	f.until("error", isError)
	close(failed)
	f.calm(time.Second)
	if n := flights.Load(); n != 1 {
		t.Errorf("%d waiting queries, want the one that lags", n)
	}
}

// TestLostTwice has a registry lose its state, fail, and lose it again: those it
// lost the second time have as long to come back as the first.
func TestLostTwice(t *testing.T) {
	t.Parallel()
	const lostFor = 1500 * time.Millisecond
	var phase atomic.Int64
	agent := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		switch phase.Load() {
		case 0:
			if waits(r) {
				phase.Store(1)
				break // what ends it all is an error
			}
			say(w, "100", one)
			return
		case 1:
			if !waits(r) {
				say(w, "50", "[]")
				return
			}
			phase.Store(2)
		case 3:
			if waits(r) {
				block(r)
				return
			}
			say(w, "5", "[]")
			return
		}
		w.WriteHeader(500)
	})
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	consul.SetLostFor(resolver, lostFor)
	f := follow(t, resolver, "users")
	f.until("set", func(e event) bool { return e.has("10.0.0.1:80") })
	f.until("loss", func(e event) bool { return e.err != nil && strings.Contains(e.err.Error(), "lost its state") })
	f.calm(lostFor + 500*time.Millisecond)
	phase.Store(3)
	again := f.until("second loss", func(e event) bool { return e.err == nil || strings.Contains(e.err.Error(), "lost its state") })
	empty := again
	if again.err != nil {
		empty = f.until("empty set", func(e event) bool { return e.err == nil })
	}
	if took := empty.at.Sub(again.at); took < lostFor-100*time.Millisecond {
		t.Errorf("the empty set is obeyed %v after the second loss, want %v", took, lostFor)
	}
}

// TestRefreshShortensTheRest asks to look again right after each error of an
// agent that answers nothing else: the next look comes when a second is over, not
// at the end of a back-off that has grown long.
func TestRefreshShortensTheRest(t *testing.T) {
	t.Parallel()
	agent := newFake(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	f := follow(t, resolver, "users")
	last := f.next("error").at
	for i := range 14 {
		resolver.Refresh("users")
		at := f.next("next error").at
		if gap := at.Sub(last); gap > 2500*time.Millisecond {
			t.Fatalf("error %d came %v after the last one, want about 1 s at most", i+2, gap)
		}
		last = at
	}
}

// TestIndex checks what a waiting query's answer is worth, by its index. The
// answer that settles it has a low index, so it must be the leader's.
func TestIndex(t *testing.T) {
	const old = `[]`
	two := strings.Replace(one, "10.0.0.1", "10.0.0.2", 1)
	for _, test := range []struct {
		name, index string
		want        []string // queries
	}{
		{"backwards", "5", []string{"", "10", "", "leader", "4"}},
		{"zero", "0", []string{"", "10", "", "leader", "4"}},
		{"missing", "", []string{"", "10", "", "leader", "4"}},
		{"negative", "-3", []string{"", "10", "", "leader", "4"}},
		{"no number", "x", []string{"", "10", "", "leader", "4"}},
		{"early and unchanged", "10", []string{"", "10", "", "leader", "4"}},
		{"empty and not yet confirmed", "11", []string{"", "10", "leader", "4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := make(chan string, 100)
			agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				if asksLeader(r) {
					asked <- "leader"
				} else {
					asked <- r.URL.Query().Get("index")
				}
				switch {
				case n == 1:
					say(w, "10", one)
				case n == 2:
					say(w, test.index, old)
				case waits(r):
					block(r)
				default:
					say(w, "4", two)
				}
			})
			f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
			if e := f.next("first"); !e.has("10.0.0.1:80") {
				t.Fatalf("got %+v, %v", e.Snapshot, e.err)
			}
			if e := f.next("second"); !e.has("10.0.0.2:80") {
				t.Fatalf("got %+v, %v, want what the query without an index says", e.Snapshot, e.err)
			}
			f.quiet(100 * time.Millisecond)
			var got []string
			for range len(asked) {
				got = append(got, <-asked)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("queries (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIgnorantServer has stale reads answered by a server that has just come
// back: what it says is not obeyed, what the leader says is.
func TestIgnorantServer(t *testing.T) {
	two := strings.Replace(one, "10.0.0.1", "10.0.0.2", 1)
	for _, test := range []struct {
		name   string
		stale  string
		leader func(http.ResponseWriter)
		want   func(event) bool
	}{
		{"empty", "[]", func(w http.ResponseWriter) { say(w, "12", two) }, func(e event) bool { return e.has("10.0.0.2:80") }},
		{"old", two, func(w http.ResponseWriter) { say(w, "12", "[]") }, func(e event) bool { return e.has() }},
		{"empty and no leader", "[]", func(w http.ResponseWriter) { w.WriteHeader(500) }, isError},
		{"old and no leader", two, func(w http.ResponseWriter) { w.WriteHeader(500) }, isError},
		{"empty and restored", "[]", func(w http.ResponseWriter) { say(w, "3", two) }, func(e event) bool { return e.has("10.0.0.2:80") }},
		{"lost", "[]", func(w http.ResponseWriter) { say(w, "3", "[]") }, isError},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1:
					say(w, "10", one)
				case n == 2:
					w.WriteHeader(500)
				case waits(r):
					block(r)
				case asksLeader(r):
					test.leader(w)
				default:
					say(w, "2", test.stale)
				}
			})
			f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
			if e := f.next("first"); !e.has("10.0.0.1:80") {
				t.Fatalf("got %+v, %v", e.Snapshot, e.err)
			}
			f.next("the error")
			for range 2 {
				e := f.next("verdict")
				if !test.want(e) {
					t.Fatalf("got %+v, %v", e.Snapshot, e.err)
				}
				if e.err == nil || test.name == "lost" {
					f.quiet(100 * time.Millisecond)
					break
				}
			}
		})
	}
}

// TestLaggingServer has stale reads answered by a server that lags and says what
// is known already: that makes nothing of the index, which would let the older
// sets that it says next be obeyed.
func TestLaggingServer(t *testing.T) {
	t.Parallel()
	older := strings.Replace(one, "10.0.0.1", "10.0.0.9", 1)
	asked := make(chan string, 100)
	var waiting atomic.Int64
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if asksLeader(r) {
			asked <- "leader"
		} else {
			asked <- r.URL.Query().Get("index")
		}
		switch {
		case n == 1 || asksLeader(r):
			say(w, "10", one)
		case !waits(r):
			say(w, "5", one)
		case waiting.Add(1) == 1:
			w.WriteHeader(500)
		case waiting.Load() == 2:
			say(w, "8", older)
		default:
			block(r)
		}
	})
	f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
	if e := f.next("first"); !e.has("10.0.0.1:80") {
		t.Fatalf("got %v", e)
	}
	if e := f.next("error"); e.err == nil {
		t.Fatalf("got %v, want an error", e)
	}
	if e := f.next("end of the error"); !e.has("10.0.0.1:80") {
		t.Fatalf("got %v, want what is known", e)
	}
	f.quiet(time.Second)
	var got []string
	for range len(asked) {
		got = append(got, <-asked)
	}
	want := []string{"", "10", "", "leader", "10", "", "leader", "10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

// TestLaggingRefresh has Refresh answered by a server that lags and says what is
// known already: the waiting query goes on.
func TestLaggingRefresh(t *testing.T) {
	t.Parallel()
	var waiting, leader atomic.Int64
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		switch {
		case waits(r):
			waiting.Add(1)
			block(r)
		case asksLeader(r):
			leader.Add(1)
			say(w, "10", one)
		case n == 1:
			say(w, "10", one)
		default:
			say(w, "5", one)
		}
	})
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	f := follow(t, resolver, "users")
	f.next("first")
	refreshFor(1500*time.Millisecond, []*consul.Resolver{resolver})
	f.quiet(time.Second)
	if n := leader.Load(); n != 1 {
		t.Errorf("the leader was asked %d times, want once", n)
	}
	if n := waiting.Load(); n != 1 {
		t.Errorf("%d waiting queries, want 1", n)
	}
}

// TestLostForGood has a registry that lost its state and stays empty: errors at
// first, and an empty set as soon as it may be believed, however long the
// queries wait.
func TestLostForGood(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		wait time.Duration
	}{
		{"short wait", time.Second},
		{"long wait", 10 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testLostForGood(t, test.wait)
		})
	}
}

func testLostForGood(t *testing.T, wait time.Duration) {
	const lostFor = 1500 * time.Millisecond
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		switch wait, _ := time.ParseDuration(r.URL.Query().Get("wait")); {
		case n == 1:
			say(w, "10", one)
		case waits(r) && n > 2:
			select {
			case <-time.After(wait):
			case <-r.Context().Done():
			}
			fallthrough
		default:
			say(w, "3", "[]")
		}
	})
	resolver := newResolver(t, consul.Config{Address: agent.addr, Wait: wait})
	consul.SetLostFor(resolver, lostFor)
	f := follow(t, resolver, "users")
	if e := f.next("first"); !e.has("10.0.0.1:80") {
		t.Fatalf("got %v", e)
	}
	first := f.next("error")
	if first.err == nil {
		t.Fatalf("got %v, want an error", first)
	}
	e := f.until("set", func(e event) bool { return e.err == nil })
	if kept := e.at.Sub(first.at); !e.has() || kept < time.Second || kept > lostFor+soon {
		t.Errorf("got %v, %v after the first error, want an empty set after %v", e, kept, lostFor)
	}
	if n := agent.requests.Load(); n > 20 {
		t.Errorf("%d queries, want at most 20", n)
	}
}

// TestLostAndBusy has a registry that lost its state and is no longer to be
// asked when its empty answer may be believed: it is asked until it answers.
func TestLostAndBusy(t *testing.T) {
	t.Parallel()
	var looks, waiting atomic.Int64
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		switch {
		case n == 1:
			say(w, "10", one)
		case n == 2:
			say(w, "3", "[]")
		case waits(r):
			waiting.Add(1)
			block(r)
		case asksLeader(r) && looks.Add(1) > 1 && looks.Load() < 4:
			w.WriteHeader(429)
		default:
			say(w, "3", "[]")
		}
	})
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	consul.SetLostFor(resolver, time.Second)
	f := follow(t, resolver, "users")
	f.next("first")
	for range 3 {
		if e := f.next("error"); e.err == nil {
			t.Fatalf("got %v, want an error", e)
		}
	}
	if e := f.until("set", func(e event) bool { return e.err == nil }); !e.has() {
		t.Errorf("got %v, want an empty set", e)
	}
	if n := waiting.Load(); n != 1 {
		t.Errorf("%d waiting queries, want 1", n)
	}
}

// TestFailedRefresh checks that a failing look beside a waiting query is an
// error and no more: the waiting query goes on and its news is taken.
func TestFailedRefresh(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request) // what Refresh asks
		error bool
	}{
		{"429", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, true},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { block(r) }, false},
		{"empty, then 429", func(w http.ResponseWriter, r *http.Request) {
			if asksLeader(r) {
				w.WriteHeader(429)
			}
			say(w, "10", "[]")
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			news := make(chan struct{})
			var waiting atomic.Int64
			agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1:
					say(w, "10", one)
				case !waits(r):
					test.serve(w, r)
				case waiting.Add(1) == 1:
					<-news
					say(w, "11", strings.Replace(one, "10.0.0.1", "10.0.0.2", 1))
				default:
					block(r)
				}
			})
			resolver := newResolver(t, consul.Config{Address: agent.addr})
			f := follow(t, resolver, "users")
			f.next("first")
			refreshFor(1500*time.Millisecond, []*consul.Resolver{resolver})
			if test.error {
				if e := f.next("error"); e.err == nil {
					t.Fatalf("got %+v, want an error", e.Snapshot)
				}
			}
			if n := waiting.Load(); n != 1 {
				t.Errorf("%d waiting queries, want 1", n)
			}
			close(news)
			f.right(soon, "10.0.0.2:80")
		})
	}
}

// TestRefreshFailsOnce has a look beside the waiting query fail: it is tried
// again, so that the error has its end while the waiting query goes on.
func TestRefreshFailsOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fault func(w http.ResponseWriter, r *http.Request)
	}{
		{"429", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { block(r) }},
		{"empty, then 429", func(w http.ResponseWriter, r *http.Request) {
			if asksLeader(r) {
				w.WriteHeader(429)
			}
			say(w, "10", "[]")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var failing atomic.Bool
			var waiting atomic.Int64
			agent := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
				switch {
				case waits(r):
					waiting.Add(1)
					block(r)
				case failing.Load():
					test.fault(w, r)
				default:
					say(w, "10", one)
				}
			})
			resolver := newResolver(t, consul.Config{Address: agent.addr, Timeout: time.Second})
			f := follow(t, resolver, "users")
			f.next("first")
			f.quiet(1200 * time.Millisecond)
			failing.Store(true)
			resolver.Refresh("users")
			for range 2 {
				if e := f.next("error"); e.err == nil {
					t.Fatalf("got %v, want an error", e)
				}
			}
			failing.Store(false)
			f.right(soon, "10.0.0.1:80")
			n := agent.requests.Load()
			f.quiet(2 * time.Second)
			if more := agent.requests.Load() - n; more != 0 {
				t.Errorf("%d queries after the error's end, want none", more)
			}
			if n := waiting.Load(); n != 1 {
				t.Errorf("%d waiting queries, want 1", n)
			}
		})
	}
}

// TestEqualSnapshots checks that an index which moves for nothing yields nothing.
func TestEqualSnapshots(t *testing.T) {
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n > 5 {
			block(r)
		}
		say(w, fmt.Sprint(n), one)
	})
	f := follow(t, newResolver(t, consul.Config{Address: agent.addr}), "users")
	f.next("instance")
	f.quiet(200 * time.Millisecond)
	if n := agent.requests.Load(); n != 6 {
		t.Errorf("%d queries, want 6", n)
	}
}

// TestNoBusyLoop checks the rate against agents that answer at once, for ever.
func TestNoBusyLoop(t *testing.T) {
	t.Parallel()
	var resolvers []*consul.Resolver
	var checks []func()
	big := "[" + strings.Repeat(" ", consul.LargeAnswer) + one[1:]
	for _, test := range []struct {
		name  string
		most  int64
		serve func(n int64, w http.ResponseWriter, r *http.Request)
	}{
		{"index stands", 14, func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, "7", one) }},
		{"index moves", 14, func(n int64, w http.ResponseWriter, _ *http.Request) { say(w, fmt.Sprint(n), one) }},
		{"no index", 14, func(_ int64, w http.ResponseWriter, _ *http.Request) { say(w, "", one) }},
		{"index falls", 14, func(n int64, w http.ResponseWriter, _ *http.Request) { say(w, fmt.Sprint(100_000-n), one) }},
		{"unknown", 14, func(n int64, w http.ResponseWriter, _ *http.Request) { say(w, fmt.Sprint(n), "[]") }},
		{"changes", 70, func(n int64, w http.ResponseWriter, _ *http.Request) {
			say(w, fmt.Sprint(n), strings.Replace(one, "10.0.0.1", fmt.Sprintf("10.0.0.%d", 1+n%2), 1))
		}},
		{"errors", 14, func(_ int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{"every other an error", 14, func(n int64, w http.ResponseWriter, _ *http.Request) {
			if n%2 == 0 {
				w.WriteHeader(403)
				return
			}
			say(w, fmt.Sprint(n), one)
		}},
		{"errors beside the waiting query", 14, func(n int64, w http.ResponseWriter, r *http.Request) {
			switch {
			case waits(r):
				block(r)
			case n > 1:
				w.WriteHeader(429)
			default:
				say(w, "7", one)
			}
		}},
		{"large", 5, func(n int64, w http.ResponseWriter, _ *http.Request) { say(w, fmt.Sprint(n), big) }},
	} {
		agent := newFake(t, test.serve)
		resolver := newResolver(t, consul.Config{Address: agent.addr})
		follow(t, resolver, "users")
		resolvers = append(resolvers, resolver)
		checks = append(checks, func() {
			if n := agent.requests.Load(); n > test.most {
				t.Errorf("%s: %d queries in 3 s, want at most %d", test.name, n, test.most)
			}
		})
	}
	refreshFor(3*time.Second, resolvers)
	for _, check := range checks {
		check()
	}
}

// refreshFor calls Refresh a thousand times a second.
func refreshFor(d time.Duration, resolvers []*consul.Resolver) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(d); ; {
		select {
		case <-end:
			return
		case <-tick.C:
			for _, r := range resolvers {
				r.Refresh("users")
			}
		}
	}
}

// TestQuery checks what every query says.
func TestQuery(t *testing.T) {
	requests := make(chan *http.Request, 10)
	agent := newFake(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		requests <- r
		if waits(r) {
			block(r)
		}
		say(w, "7", one)
	})
	config := consul.Config{
		Address: "http://" + agent.addr + "/prefix", Token: "secret", Datacenter: "dc1",
		Namespace: "team", Partition: "part", Tags: []string{"v2"}, Filter: "Service.Port > 1",
	}
	follow(t, newResolver(t, config), "Users.service.dc2.consul")
	for _, wait := range []bool{false, true} {
		r := <-requests
		q := r.URL.Query()
		for key, want := range map[string]string{
			"dc": "dc2", "ns": "team", "partition": "part", "stale": "",
			"filter": "`v2` in Service.Tags and (Service.Port > 1)",
		} {
			if !q.Has(key) || q.Get(key) != want {
				t.Errorf("%s is %q, want %q", key, q.Get(key), want)
			}
		}
		if r.URL.Path != "/prefix/v1/health/service/users" || r.Header.Get("X-Consul-Token") != "secret" || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		if q.Has("passing") || q.Has("near") || waits(r) != wait {
			t.Errorf("query %v", q)
		}
		if d, err := time.ParseDuration(q.Get("wait")); wait && (err != nil || d < 45*time.Second || d > 60*time.Second) {
			t.Errorf("wait is %q, want 45 to 60 s", q.Get("wait"))
		}
	}
}

// TestTimeout checks that an agent which hangs is given up.
func TestTimeout(t *testing.T) {
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n == 1 || waits(r) {
			block(r)
		}
		say(w, "7", one)
	})
	f := follow(t, newResolver(t, consul.Config{Address: agent.addr, Timeout: 200 * time.Millisecond}), "users")
	f.until("an error", isError)
	f.until("the instance", func(e event) bool { return e.has("10.0.0.1:80") })
}

// TestWarnsOnce sends bad entries again and again.
func TestWarnsOnce(t *testing.T) {
	var log syncBuilder
	bad := "[" + strings.Join([]string{
		element("u1", "10.0.0.1", `,"Port":80`), element("u1", "10.0.0.2", `,"Port":80`), element("u2", "10.0.0.1", ``),
	}, ",") + "]"
	agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n > 5 {
			block(r)
		}
		say(w, fmt.Sprint(n), bad)
	})
	f := follow(t, newResolver(t, consul.Config{Address: agent.addr, Logger: slog.New(slog.NewTextHandler(&log, nil))}), "users")
	if e := f.next("instance"); !e.has("10.0.0.1:80") {
		t.Errorf("got %+v, %v", e.Snapshot, e.err)
	}
	f.quiet(100 * time.Millisecond)
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want 2:\n%s", n, log.String())
	}
}

type syncBuilder struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (s *syncBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestNames checks that a name which cannot be Consul's never gets there.
func TestNames(t *testing.T) {
	agent := newFake(t, func(int64, http.ResponseWriter, *http.Request) {})
	resolver := newResolver(t, consul.Config{Address: agent.addr})
	for _, name := range []string{"users:8080", "", "../kv/x", "users?x", "v2.users.service.consul", strings.Repeat("x", 254)} {
		f := follow(t, resolver, name)
		if e := f.next("refusal of " + name); e.err == nil || !e.Unknown {
			t.Errorf("%q: got %+v, %v, want Unknown beside an error", name, e.Snapshot, e.err)
		} else if name == "users:8080" && !strings.Contains(e.err.Error(), "port") {
			t.Errorf("%q: the error says nothing of the port: %v", name, e.err)
		}
	}
	if n := agent.requests.Load(); n != 0 {
		t.Errorf("%d queries, want none", n)
	}
}

func TestClosed(t *testing.T) {
	resolver := newResolver(t, consul.Config{})
	if err := resolver.Close(); err != nil {
		t.Fatal(err)
	}
	f := follow(t, resolver, "users")
	if e := f.next("refusal"); e.err != consul.ErrClosed {
		t.Errorf("got %v, want ErrClosed", e.err)
	}
	<-f.ended
}
