package consul_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/discovery/consul"
)

func FuzzDecodeHealth(f *testing.F) {
	for _, s := range []string{"{}", "null", "[]", `{"Checks":[null,{"CheckID":"a","Status":"critical"}]}`, `{"Checks":[{"Status":"strange"}]}`, "{"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		statuses, _ := consul.DecodeHealth(data)
		for id, status := range statuses {
			if status != "passing" && status != "warning" && status != "critical" {
				t.Errorf("%q is %q, with which no check can begin", id, status)
			}
		}
	})
}
