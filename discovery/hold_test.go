package discovery_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestHold(t *testing.T) {
	for name, steps := range map[string]func(p *puppet, l *log){
		"an empty start is believed": func(p *puppet, l *log) {
			p.says("empty")
			l.came("empty")
			p.says("unknown")
			l.came("unknown")
			p.says("a:1")
			l.came("a:1")
		},
		"an empty answer waits": func(p *puppet, l *log) {
			p.says("a:1")
			l.came("a:1")
			p.says("empty")
			time.Sleep(10*time.Second - 1)
			l.came()
			time.Sleep(time.Nanosecond)
			l.came("empty")
			p.says("unknown")
			l.came("unknown")
		},
		"so does an unknown one, and its reason": func(p *puppet, l *log) {
			p.says("a:1")
			p.says("unknown!no such name")
			l.came("a:1")
			time.Sleep(10 * time.Second)
			l.came("unknown!no such name")
		},
		"it is forgotten when endpoints come": func(p *puppet, l *log) {
			p.says("a:1")
			p.says("empty")
			time.Sleep(9 * time.Second)
			p.says("a:1")
			time.Sleep(time.Minute)
			l.came("a:1")
			p.says("empty")
			time.Sleep(9 * time.Second)
			p.says("b:1")
			time.Sleep(time.Minute)
			l.came("b:1")
		},
		"the time runs from the first, the last is believed": func(p *puppet, l *log) {
			p.says("a:1")
			p.says("empty")
			time.Sleep(9 * time.Second)
			p.says("unknown")
			l.came("a:1")
			time.Sleep(time.Second)
			l.came("unknown")
			time.Sleep(time.Minute)
			l.came()
		},
		"each time anew": func(p *puppet, l *log) {
			for range 2 {
				p.says("a:1")
				p.says("empty")
				l.came("a:1")
				time.Sleep(10 * time.Second)
				l.came("empty")
			}
		},
		"errors pass, and change nothing": func(p *puppet, l *log) {
			p.says("!before")
			p.says("a:1")
			p.says("empty")
			p.says("!while")
			l.came("!before", "a:1", "!while")
			time.Sleep(10 * time.Second)
			l.came("empty")
		},
		"equal answers": func(p *puppet, l *log) {
			p.says("a:1 b:1")
			p.says("b:1 a:1")
			l.came("a:1 b:1")
		},
		"an end is no answer": func(p *puppet, l *log) {
			p.says("a:1")
			p.says("end")
			p.says("empty")
			l.came("a:1")
			p.says("end")
			time.Sleep(10 * time.Second)
			l.came("empty")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPuppet()
				steps(p, record(t, discovery.Hold(p, 10*time.Second), "users"))
			})
		})
	}
}

func TestHoldDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet()
		l := record(t, discovery.Hold(p, 0), "users")
		p.says("a:1")
		p.says("empty")
		time.Sleep(30*time.Second - 1)
		l.came("a:1")
		time.Sleep(time.Nanosecond)
		l.came("empty")
	})
}

// The context ends, or the loop is left, while an answer waits.
func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet()
		h := discovery.Hold(p, time.Second)
		l := record(t, h, "users")
		p.says("a:1")
		p.says("empty")
		l.stop()
		if n := p.watching.Load(); n != 0 {
			t.Errorf("%d watches of the inner resolver go on", n)
		}
		if n := h.Waking(); n != 0 {
			t.Errorf("Refresh has %d names in mind that nobody watches", n)
		}
		go func() { p.words <- "a:1"; p.words <- "!reason" }()
		for _, err := range h.Watch(t.Context(), "users") {
			if err != nil {
				break
			}
		}
		if n := p.watching.Load(); n != 0 {
			t.Errorf("%d watches of the inner resolver go on after break", n)
		}
	})
}

// A sequence that ends at once is watched again soon, and ever more rarely.
func TestHoldBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet()
		h := discovery.Hold(p, 0)
		record(t, h, "users")
		began := time.Now()
		p.says("end")
		p.says("end")
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("watched again after %v, want milliseconds", took)
		}
		for range 20 {
			p.says("end")
		}
		began = time.Now()
		p.says("end")
		if took := time.Since(began); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("watched again after %v, want 2.5 to 5 s", took)
		}
		// Refresh cuts it short, once a second.
		watches := p.watches.Load()
		for range 10 {
			h.Refresh("users")
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if more := p.watches.Load() - watches; more != 0 {
			t.Errorf("Refresh brought %d watches at once, want none", more)
		}
		h.Refresh("users")
		synctest.Wait()
		if more := p.watches.Load() - watches; more != 1 {
			t.Errorf("Refresh brought %d watches after a second, want 1", more)
		}
		h.Refresh("others")
		if n := p.refreshed.Load(); n != 12 {
			t.Errorf("%d calls of Refresh were passed on, want 12", n)
		}
		// A watch that lived for long starts over.
		time.Sleep(time.Minute)
		p.says("end")
		began = time.Now()
		p.says("end")
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("watched again after %v, want milliseconds", took)
		}
	})
}

func TestHoldRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		r    discovery.Resolver
		d    time.Duration
		want []string
	}{
		"negative":     {discovery.Services{}, -time.Second, []string{"Hold", "-1s", "30s"}},
		"nil":          {nil, 0, []string{"Hold", "nil"}},
		"nil pointer":  {(*discovery.Registry)(nil), 0, []string{"Hold", "nil"}},
		"inner errors": {invalid{}, 0, []string{"Hold", "not in order"}},
		"fine":         {discovery.Services{}, 0, nil},
	} {
		refuses(t, name, discovery.Hold(tt.r, tt.d).Validate(), tt.want)
	}
	synctest.Test(t, func(t *testing.T) {
		l := record(t, discovery.Hold(discovery.Services{}, -1), "users")
		time.Sleep(time.Hour)
		l.came("!discovery: Hold's d is -1ns, want more than 0, or 0 meaning 30s")
	})
}

// refuses checks an error's words; no words mean no error.
func refuses(t *testing.T, name string, err error, want []string) {
	t.Helper()
	if (err == nil) != (len(want) == 0) {
		t.Errorf("%s: error %v, want one with %q", name, err, want)
		return
	}
	for _, word := range want {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %q does not say %q", name, err, word)
		}
	}
}
