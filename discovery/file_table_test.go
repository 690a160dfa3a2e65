package discovery_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestDecodeFile(t *testing.T) {
	got, err := discovery.DecodeFile([]byte(`
		{
			"users": [
				{"addr": "10.0.0.1:8080"},
				{"id": "2", "addr": "[2001:db8::2]:8080", "weight": 7, "drain": true, "region": "r", "zone": "z", "metadata": {"a": "b"}},
				{"addr": "c:1", "weight": 0},
				{"addr": "d:1", "weight": 0, "drain": false},
				{"addr": "e:1", "id": null, "weight": null, "drain": null, "zone": null, "metadata": null}
			],
			"orders": [],
			"host:80": [{"addr": "10.0.0.1:8080"}]
		}
	`))
	want := map[string][]discovery.Endpoint{
		"users": {
			{Addr: "10.0.0.1:8080"},
			{ID: "2", Addr: "[2001:db8::2]:8080", Weight: 7, Drain: true, Region: "r", Zone: "z", Metadata: map[string]string{"a": "b"}},
			{Addr: "c:1", Drain: true},
			{Addr: "d:1", Drain: true},
			{Addr: "e:1"},
		},
		"orders":  {},
		"host:80": {{Addr: "10.0.0.1:8080"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n(-want +got):\n%s", err, diff)
	}
}

func TestDecodeFileRefuses(t *testing.T) {
	// users puts each text on a line of its own, from line 3 on.
	users := func(endpoints ...string) string {
		return "{\n\"users\": [\n" + strings.Join(endpoints, ",\n") + "\n]}"
	}
	const good = `{"addr": "a:1"}`
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{"empty"}},
		{"blank", " \n\t", []string{"empty"}},
		{"broken off", "{\n\"users\": [", []string{"line 2", "end of JSON"}},
		{"trailing data", "{}\n{}", []string{"line 2", "after top-level value"}},
		{"trailing comma", "{\n\"users\": [],\n}", []string{"line 3", "'}'"}},
		{"comment", "// x\n{}", []string{"line 1", "'/'"}},
		{"too deep", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), []string{"line 1", "depth"}},
		{"list", "[]", []string{"the file is a list", "an object"}},
		{"null", "null", []string{"the file is null", "an object"}},
		{"string", `"users"`, []string{`the file is "users"`, "an object"}},
		{"service is null", `{"users": null}`, []string{`"users" is null`, "a list of endpoints"}},
		{"service is an object", `{"users": {}}`, []string{`"users" is an object`, "a list of endpoints"}},
		{"service twice", "{\"users\": [],\n\"orders\": [],\n\"users\": []}", []string{"line 3", `"users" stands twice`}},
		{"empty name", `{"": []}`, []string{"line 1", "name is empty"}},
		{"upper case", "{\n\"Users\": []}", []string{"line 2", `"Users"`, "lower case"}},
		{"trailing dot", `{"users.": []}`, []string{`"users."`, "trailing dot"}},
		{"endpoint is a string", users(good, `"a:1"`), []string{"line 4", `"users"[1]`, `"a:1"`, "an object"}},
		{"endpoint is null", users(`null`), []string{"line 3", `"users"[0]`, "null", "an object"}},
		{"no addr", users(good, `{"weight": 2}`), []string{"line 4", `"users"[1]`, "Addr"}},
		{"bad addr", users(`{"addr": "a"}`), []string{"line 3", `"users"[0]`, `"a"`, "host:port"}},
		{"unknown field", users(good, good[:14]+`, "wieght": 2}`), []string{"line 4", `"users"[1]`, `"wieght"`, "weight"}},
		{"field in capitals", users(`{"Addr": "a:1"}`), []string{`"Addr"`, "addr"}},
		{"field twice", users(`{"addr": "a:1", "addr": "b:1"}`), []string{`"users"[0]`, `"addr" stands twice`}},
		{"addr is a number", users(`{"addr": 1}`), []string{`"addr" is 1`, "a string"}},
		{"weight is a string", users("{\"addr\": \"a:1\",\n\"weight\": \"2\"}"), []string{"line 4", `"weight" is "2"`, "a whole number"}},
		{"weight is a fraction", users(`{"addr": "a:1", "weight": 1.5}`), []string{`"weight" is 1.5`, "a whole number"}},
		{"weight is huge", users(`{"addr": "a:1", "weight": 1e30}`), []string{`"weight" is 1e30`}},
		{"negative weight", users(good, `{"addr": "b:1", "weight": -1}`), []string{"line 4", "Weight is -1", "1000000"}},
		{"weight too large", users(`{"addr": "a:1", "weight": 1000001}`), []string{"Weight is 1000001"}},
		{"drain is a string", users(`{"addr": "a:1", "drain": "yes"}`), []string{`"drain" is "yes"`, "true or false"}},
		{"metadata of numbers", users(`{"addr": "a:1", "metadata": {"a": 1}}`), []string{`"metadata"`, "an object of strings"}},
		{"addr twice", users(good, `{"addr": "b:1"}`, good), []string{"line 5", `"users"[2]`, `"a:1" stands twice`}},
		{"ID twice", users(`{"id": "x", "addr": "a:1"}`, `{"id": "x", "addr": "b:1"}`), []string{"line 4", `"users"[1]`, `"x" stands twice`}},
		{"ID is another's addr", users(good, `{"id": "a:1", "addr": "b:1"}`), []string{`"a:1" stands twice`}},
		{"too many services", manyServices(discovery.MaxFileEntries + 1), []string{"100000"}},
		{"endless text", `{"users": [{"addr": "` + strings.Repeat("x", 1<<20) + `"}]}`, []string{`"users"[0]`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := discovery.DecodeFile([]byte(tt.file))
			if err == nil {
				t.Fatal("no error")
			}
			refuses(t, tt.name, err, tt.want)
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func manyServices(n int) string {
	var b strings.Builder
	b.WriteString(`{"first": []`)
	for i := range n - 1 {
		fmt.Fprintf(&b, ",\n\"s%d\": []", i)
	}
	b.WriteString("}")
	return b.String()
}

func FuzzDecodeFile(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[]", "null", "\xff", `{"": []}`, `{"a": null}`, `{"a": [{}]}`, `{"a": [{"addr": "b:1", "weight": 0}]}`,
		`{"a": [{"addr": "b:1", "metadata": {"x": "y"}}, {"addr": "b:1"}]}`, `{"a": [], "a": []}`, "{} {}", `{"a":[{"addr":"[::1]:1","x":1}]}`,
		oneUser, twoUsers,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		services, err := discovery.DecodeFile(data)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		if err := discovery.Services(services).Validate(); err != nil {
			t.Errorf("%q is accepted and holds %v", data, err)
		}
	})
}
