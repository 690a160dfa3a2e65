package consul_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// recorded is a real agent's answer: u1 warns, u3 is critical, u4 in
// maintenance, u5 has no port.
func recorded(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "health.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeRecorded(t *testing.T) {
	got, problems, err := consul.Decode(recorded(t))
	want := []discovery.Endpoint{
		{ID: "node-a/u1", Addr: "10.0.0.1:80", Weight: 1, Region: "r", Zone: "z", Metadata: map[string]string{"version": "1", "consul.tags": "a,b"}},
		{ID: "node-a/u2", Addr: "127.0.0.1:81", Weight: 1},
		{ID: "node-a/u4", Addr: "[fd00::4]:83", Weight: 1, Drain: true},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if len(problems) != 1 || !strings.Contains(problems[0], "node-a/u5") {
		t.Errorf("problems %q, want one of u5", problems)
	}
}

func TestDecode(t *testing.T) {
	type endpoints []discovery.Endpoint
	at := func(change func(*discovery.Endpoint)) endpoints {
		e := discovery.Endpoint{ID: "n/a", Addr: "10.0.0.1:80", Weight: 1}
		if change != nil {
			change(&e)
		}
		return endpoints{e}
	}
	service := func(rest string) string { return element("a", "10.0.0.1", rest) }
	checks := func(checks string) string {
		return `{"Node":{"Node":"n"},"Service":{"ID":"a","Address":"10.0.0.1","Port":80,"Weights":{"Passing":9,"Warning":4}},"Checks":[` + checks + `]}`
	}
	weight := func(n int) func(*discovery.Endpoint) { return func(e *discovery.Endpoint) { e.Weight = n } }
	drain := func(e *discovery.Endpoint) { e.Drain = true }
	place := func(region, zone string) func(*discovery.Endpoint) {
		return func(e *discovery.Endpoint) { e.Region, e.Zone = region, zone }
	}
	for _, test := range []struct {
		name     string
		elements []string
		want     endpoints
		problems int
	}{
		{"none", nil, nil, 0},
		{"plain", []string{service(`,"Port":80`)}, at(nil), 0},
		{"no port", []string{service(``)}, nil, 1},
		{"port 0", []string{service(`,"Port":0`)}, nil, 1},
		{"negative port", []string{service(`,"Port":-5`)}, nil, 1},
		{"port too large", []string{service(`,"Port":70000`)}, nil, 1},
		{"port is a string", []string{service(`,"Port":"80"`)}, nil, 1},
		{"port is huge", []string{service(`,"Port":1e300`)}, nil, 1},
		{"no address at all", []string{`{"Node":{"Node":"n"},"Service":{"ID":"a","Port":80}}`}, nil, 1},
		{"address with a path", []string{element("a", "10.0.0.1/x", `,"Port":80`)}, nil, 1},
		{"no service ID", []string{element("", "10.0.0.1", `,"Port":80`)}, nil, 1},
		{"no node", []string{`{"Service":{"ID":"a","Address":"10.0.0.1","Port":80}}`}, nil, 1},
		{"null", []string{`null`}, nil, 1},
		{"a number", []string{`3`}, nil, 1},
		{"IPv6 in brackets", []string{element("a", "[fd00::1]", `,"Port":80`)}, at(func(e *discovery.Endpoint) { e.Addr = "[fd00::1]:80" }), 0},
		{"bad among good", []string{service(`,"Port":"x"`), element("b", "10.0.0.1", `,"Port":80`)}, at(func(e *discovery.Endpoint) { e.ID = "n/b" }), 1},
		{"twice the same", []string{service(`,"Port":80`), service(`,"Port":80`)}, at(nil), 1},
		{"twice and different", []string{service(`,"Port":80`), service(`,"Port":81`), service(`,"Port":82`)}, at(nil), 2},
		{"weight", []string{service(`,"Port":80,"Weights":{"Passing":7}`)}, at(weight(7)), 0},
		{"weight 0", []string{service(`,"Port":80,"Weights":{"Passing":0,"Warning":1}`)}, at(drain), 0},
		{"weights null", []string{service(`,"Port":80,"Weights":null`)}, at(nil), 0},
		{"largest weight", []string{service(fmt.Sprintf(`,"Port":80,"Weights":{"Passing":%d}`, discovery.MaxWeight))}, at(weight(discovery.MaxWeight)), 0},
		{"weight too large", []string{service(fmt.Sprintf(`,"Port":80,"Weights":{"Passing":%d}`, discovery.MaxWeight+1))}, nil, 1},
		{"negative weight", []string{service(`,"Port":80,"Weights":{"Passing":-1}`)}, nil, 1},
		{"passing", []string{checks(`{"CheckID":"x","Status":"passing"}`)}, at(weight(9)), 0},
		{"warning", []string{checks(`{"CheckID":"x","Status":"warning"},{"CheckID":"y","Status":"passing"}`)}, at(weight(4)), 0},
		{"critical", []string{checks(`{"CheckID":"x","Status":"critical"},{"CheckID":"y","Status":"warning"}`)}, nil, 0},
		{"maintenance", []string{checks(`{"CheckID":"_service_maintenance:a","Status":"critical"}`)}, at(func(e *discovery.Endpoint) { e.Weight, e.Drain = 9, true }), 0},
		{"maintenance and critical", []string{checks(`{"CheckID":"_node_maintenance","Status":"critical"},{"CheckID":"x","Status":"critical"}`)}, nil, 0},
		{"checks do not leak into the next", []string{checks(`{"CheckID":"x","Status":"critical"}`), strings.Replace(checks(`{"CheckID":"x"}`), `"a"`, `"b"`, 1)}, at(func(e *discovery.Endpoint) { e.ID, e.Weight = "n/b", 9 }), 0},
		{"service's locality", []string{service(`,"Port":80,"Locality":{"Region":"r","Zone":"z"}`)}, at(place("r", "z")), 0},
		{"node's locality", []string{`{"Node":{"Node":"n","Locality":{"Zone":"z"}},"Service":{"ID":"a","Address":"10.0.0.1","Port":80}}`}, at(place("", "z")), 0},
		{"node's metadata", []string{`{"Node":{"Node":"n","Meta":{"zone":"z","region":"r","x":"y"}},"Service":{"ID":"a","Address":"10.0.0.1","Port":80}}`}, at(place("r", "z")), 0},
		{"service's metadata", []string{service(`,"Port":80,"Meta":{"zone":"z"}`)}, at(func(e *discovery.Endpoint) { e.Zone, e.Metadata = "z", map[string]string{"zone": "z"} }), 0},
		{"partition and peer", []string{service(`,"Port":80,"PeerName":"p/1","Partition":"default"`)}, at(func(e *discovery.Endpoint) { e.ID = "@p%2F1@n/a" }), 0},
		{"sorted", []string{element("b", "10.0.0.1", `,"Port":80`), service(`,"Port":80`)}, append(at(nil), at(func(e *discovery.Endpoint) { e.ID = "n/b" })...), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, problems, err := consul.Decode([]byte("[" + strings.Join(test.elements, ",") + "]"))
			if diff := cmp.Diff(test.want, endpoints(got)); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
			if len(problems) != test.problems {
				t.Errorf("problems %q, want %d", problems, test.problems)
			}
		})
	}
}

func TestDecodeBound(t *testing.T) {
	if _, _, err := consul.Decode([]byte("[" + strings.Repeat("{},", 100_000) + "{}]")); err == nil {
		t.Error("no error from 100,001 entries")
	}
	if _, problems, err := consul.Decode([]byte("[" + strings.Repeat("{},", 99_999) + "{}]")); err != nil || len(problems) > 100 {
		t.Errorf("%d problems, %v, want a few and no error", len(problems), err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(recorded(f))
	for _, s := range []string{"[]", "null", one, `[{},null,3]`, `[{"Service":{"Weights":{"Passing":-1}}}]`, `{}`, "[[[["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		endpoints, _, err := consul.Decode(data)
		if err != nil {
			return
		}
		for _, e := range endpoints {
			if err := e.Validate(); err != nil || e.ID == "" {
				t.Errorf("%+v: %v", e, err)
			}
		}
		ids := func(a, b discovery.Endpoint) int { return strings.Compare(a.ID, b.ID) }
		if !slices.IsSortedFunc(endpoints, ids) {
			t.Error("not sorted")
		}
		if n := len(slices.CompactFunc(slices.Clone(endpoints), func(a, b discovery.Endpoint) bool { return a.ID == b.ID })); n != len(endpoints) {
			t.Error("an ID stands twice")
		}
	})
}

// many is an answer of n entries, about 800 bytes each as real ones are.
func many(tb testing.TB, n int) []byte {
	tb.Helper()
	var elements []json.RawMessage
	if err := json.Unmarshal(recorded(tb), &elements); err != nil {
		tb.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, elements[0]); err != nil {
		tb.Fatal(err)
	}
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.Replace(compact.String(), `"ID":"u1"`, fmt.Sprintf(`"ID":"u%d"`, i), 1)
	}
	return []byte("[" + strings.Join(parts, ",") + "]")
}

// BenchmarkDecode compares with consul/api's own structs.
func BenchmarkDecode(b *testing.B) {
	data := many(b, 5000)
	b.Run("fairlead", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if endpoints, _, err := consul.Decode(data); err != nil || len(endpoints) != 5000 {
				b.Fatal(len(endpoints), err)
			}
		}
	})
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			endpoints, _, _ := consul.Decode(data)
			b.ReportMetric(float64(heap()-before)/float64(len(endpoints)), "B-held/endpoint")
			runtime.KeepAlive(endpoints)
		}
	})
	b.Run("consul-api", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			var entries []*api.ServiceEntry
			if err := json.Unmarshal(data, &entries); err != nil {
				b.Fatal(err)
			}
		}
	})
}
