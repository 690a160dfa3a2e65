package consul_test

import (
	"compress/gzip"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

// TestFaultsLater is TestFaults in the midst of a watch: the waiting query is
// answered so, and the one after it too. The set is kept, and
// followed as soon as there is a good answer.
func TestFaultsLater(t *testing.T) {
	two := "[" + element("u1", "10.0.0.2", `,"Port":80`) + "]"
	for _, test := range append(faults(), slowFaults()...) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			agent := newFake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
				switch {
				case n == 1:
					say(w, "7", one)
				case n <= 3:
					test.answer(w)
				case waits(r):
					block(r)
				default:
					say(w, "8", two)
				}
			})
			config := consul.Config{Address: agent.addr, Wait: time.Second, Timeout: slowdown * time.Second}
			f := follow(t, newResolver(t, config), "users")
			if e := f.next("instance"); !e.has("10.0.0.1:80") {
				t.Fatalf("got %+v, %v, want the instance", e.Snapshot, e.err)
			}
			e := f.until("the next set", func(e event) bool { return e.err == nil })
			if !e.has("10.0.0.2:80") {
				t.Fatalf("got %+v, want what the good answer says", e.Snapshot)
			}
		})
	}
}

// slowFaults are those that end by the timeout, or cost more than a little.
func slowFaults() []fault {
	return []fault{
		{"drips", func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "9")
			for i := range one {
				if _, err := w.Write([]byte{one[i]}); err != nil {
					return
				}
				if http.NewResponseController(w).Flush() != nil {
					return
				}
				time.Sleep(500 * time.Millisecond)
			}
		}},
		{"gzip bomb", func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("X-Consul-Index", "9")
			bomb := gzip.NewWriter(w)
			spaces := make([]byte, 1<<20)
			for i := range spaces {
				spaces[i] = ' '
			}
			for range 4 * consul.MaxAnswer >> 20 {
				if _, err := bomb.Write(spaces); err != nil {
					return
				}
			}
			_ = bomb.Close()
		}},
	}
}
