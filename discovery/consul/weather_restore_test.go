package consul_test

import (
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

// TestRestore restores older states, whose indexes are lower, and that of
// another cluster. Within one Wait (of 2 s, and a second for the rest) the set
// is the restored one, unless that has none: then it is kept. Changes are
// followed afterwards.
func TestRestore(t *testing.T) { onBothBackends(t, testRestore) }

func testRestore(t *testing.T, agent *consultest.Agent) {
	const bound = 3 * time.Second
	other := consultest.Start(t)
	enlist(t, other, "foreign", 7)
	foreign := other.Save()
	other.Kill()

	nothing := agent.Save()
	enlist(t, agent, "u1", 80)
	first := agent.Save()
	f := follow(t, newResolver(t, swift(agent)), "users")
	f.right(soon, "10.0.0.1:80")
	step := 0
	grow := func() {
		for i := range 5 {
			enlist(t, agent, "u2", 100*(step+1)+i)
		}
		step++
	}
	for _, test := range []struct {
		name  string
		saved []byte
		want  string
	}{
		{"older", first, "10.0.0.1:80"},
		{"another set", foreign, "10.0.0.1:7"},
		{"older again", first, "10.0.0.1:80"},
	} {
		grow()
		f.until("growth", func(e event) bool { return len(e.Endpoints) == 2 })
		agent.Restore(test.saved)
		f.t.Logf("restored: %s", test.name)
		f.right(bound, test.want)
	}
	enlist(t, agent, "u1", 81)
	f.right(soon, "10.0.0.1:81")
	agent.Restore(nothing)
	f.calm(bound)
	enlist(t, agent, "u1", 82)
	f.right(soon, "10.0.0.1:82")
}
