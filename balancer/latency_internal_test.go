package balancer

import (
	"math"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

// fickle makes pickers of another policy each time.
type fickle struct{ policies []Policy }

func (*fickle) Name() string { return "fickle" }

func (f *fickle) NewPicker(nodes []*Node, _ Picker) Picker {
	p := f.policies[0]
	f.policies = append(f.policies[1:], p)
	return p.NewPicker(nodes, nil)
}

// An attempt that began in a picker of PeakEWMA does not wait for ever because
// another policy's picker sees its end, nor does one end that never began.
func TestWhatBeganInAPickerEndsInAnother(t *testing.T) {
	b := New(Config{Policy: &fickle{[]Policy{PeakEWMA(), RoundRobin()}}})
	defer b.Close()
	if err := b.Update([]discovery.Endpoint{{Addr: "a:1"}}); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		l, err := b.Pick(&Info{})
		if err != nil {
			t.Fatal(err)
		}
		n := l.Node()
		b.main.build(b.fleet.Load(), b.standings)
		l.Report(Outcome{Verdict: Success})
		l.Release()
		if waiting := n.latency.waits.Load() & waitsMax; waiting != 0 {
			t.Fatalf("%d attempts wait for a verdict, want none", waiting)
		}
	}
}

func TestDecay(t *testing.T) {
	for age := time.Duration(0); age < 100*time.Second; age += 7 * time.Millisecond {
		want := math.Exp(-float64(age) / float64(ewmaTau))
		if got := decay(age); math.Abs(got-want) > 1e-7 {
			t.Fatalf("after %v %v, want %v", age, got, want)
		}
	}
}

// An average that nobody wrote for a month is forgotten, not eternal.
func TestOldAverage(t *testing.T) {
	for _, days := range []time.Duration{1, 20, 27, 40, 51} {
		l := &latency{}
		l.follow(time.Hour, 2e9, false)
		now := time.Hour + days*24*time.Hour
		if v := l.value(now); v > 1e6 {
			t.Errorf("2 s of %d days ago count as %v", days, time.Duration(v))
		}
		l.follow(now, 5e6, false)
		if v := time.Duration(l.value(now)); v != 5*time.Millisecond {
			t.Errorf("after %d days an answer of 5 ms makes it %v", days, v)
		}
	}
}
