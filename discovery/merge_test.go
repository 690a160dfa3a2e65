package discovery_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

func TestMerge(t *testing.T) {
	for name, steps := range map[string]func(a, b *puppet, l *log){
		"the first waits for all": func(a, b *puppet, l *log) {
			a.says("a:1")
			time.Sleep(time.Second - 1)
			l.came()
			b.says("b:1")
			l.came("a:1 b:1")
		},
		"but not for long": func(a, b *puppet, l *log) {
			time.Sleep(time.Minute)
			b.says("b:1")
			time.Sleep(time.Second - 1)
			l.came()
			time.Sleep(time.Nanosecond)
			l.came("b:1")
			a.says("a:1")
			l.came("a:1 b:1")
		},
		"nor longer because more comes": func(a, _ *puppet, l *log) {
			a.says("a:1")
			time.Sleep(time.Second / 2)
			a.says("a:1 c:1")
			time.Sleep(time.Second / 2)
			l.came("a:1 c:1")
			a.says("a:1")
			l.came("a:1")
		},
		"an unknown name is an answer": func(a, b *puppet, l *log) {
			a.says("unknown")
			b.says("b:1")
			l.came("b:1")
		},
		"an error is one too": func(a, b *puppet, l *log) {
			b.says("b:1")
			a.says("!down")
			l.came("!down", "b:1")
		},
		"nothing but errors": func(a, b *puppet, l *log) {
			a.says("!down")
			b.says("!down too")
			time.Sleep(time.Minute)
			l.came("!down", "!down too")
		},
		"an error and nobody": func(a, b *puppet, l *log) {
			a.says("!down")
			b.says("empty")
			time.Sleep(time.Minute)
			l.came("!down")
			b.says("unknown")
			l.came()
			a.says("empty")
			l.came("empty")
		},
		"silence and nobody": func(a, b *puppet, l *log) {
			b.says("unknown")
			time.Sleep(time.Minute)
			l.came()
			a.says("unknown")
			l.came("unknown")
		},
		"an error keeps the last set": func(a, b *puppet, l *log) {
			a.says("a:1")
			b.says("b:1")
			a.says("!down")
			b.says("b:1 c:1")
			l.came("a:1 b:1", "!down", "a:1 b:1 c:1")
		},
		"the end of an error is said": func(a, b *puppet, l *log) {
			a.says("a:1")
			b.says("b:1")
			a.says("!down")
			a.says("a:1")
			l.came("a:1 b:1", "!down", "a:1 b:1")
		},
		"the end of the last of several errors is said": func(a, b *puppet, l *log) {
			a.says("a:1")
			b.says("b:1")
			a.says("!down")
			b.says("!down too")
			a.says("a:1")
			l.came("a:1 b:1", "!down", "!down too")
			b.says("b:1")
			l.came("a:1 b:1")
		},
		"of a source that is down one never falls to nothing": func(a, b *puppet, l *log) {
			a.says("!down")
			b.says("b:1")
			b.says("empty")
			l.came("!down", "b:1")
			a.says("a:1")
			l.came("a:1")
		},
		"the first wins": func(a, b *puppet, l *log) {
			b.says("x:1@b y:1@b")
			a.says("x:1@a")
			l.came("x:1@a y:1@b")
			a.says("empty")
			l.came("x:1@b y:1@b")
			a.says("x:1@b")
			l.came()
		},
		"all empty": func(a, b *puppet, l *log) {
			a.says("a:1")
			b.says("unknown")
			a.says("empty")
			a.says("unknown")
			l.came("a:1", "empty", "unknown")
		},
		"a final error of one": func(a, b *puppet, l *log) {
			a.says("unknown!not mine")
			b.says("b:1")
			l.came("b:1")
		},
		"a final error of all": func(a, b *puppet, l *log) {
			a.says("unknown!not mine")
			b.says("unknown!nor mine")
			l.came("unknown!not mine\nnor mine")
		},
		"a final error of one, and the other knows nobody": func(a, b *puppet, l *log) {
			a.says("unknown!not mine")
			b.says("unknown")
			l.came("unknown")
			b.says("unknown!nor mine")
			l.came("unknown!not mine\nnor mine")
		},
		"an end keeps the last set": func(a, b *puppet, l *log) {
			a.says("a:1")
			b.says("b:1")
			a.says("end")
			b.says("c:1")
			l.came("a:1 b:1", "a:1 c:1")
			a.says("d:1")
			l.came("d:1 c:1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newPuppet(), newPuppet()
				steps(a, b, record(t, discovery.Merge(a, b), "users"))
			})
		})
	}
}

// All goroutines have ended when the sequence has, however it ends.
func TestMergeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPuppet(), newPuppet()
		m := discovery.Merge(a, b)
		l := record(t, m, "users")
		a.says("a:1")
		synctest.Wait()
		if n := a.watching.Load() + b.watching.Load(); n != 2 {
			t.Errorf("%d watches, want one for each source", n)
		}
		l.stop()
		if n := a.watching.Load() + b.watching.Load(); n != 0 {
			t.Errorf("%d watches go on after the context's end", n)
		}
		go func() { a.words <- "!reason" }()
		for range m.Watch(t.Context(), "users") {
			break
		}
		if n := a.watching.Load() + b.watching.Load(); n != 0 {
			t.Errorf("%d watches go on after break", n)
		}
		func() {
			defer func() { _ = recover() }()
			go func() { a.words <- "!reason" }()
			for range m.Watch(t.Context(), "users") {
				panic("the reader's own")
			}
		}()
		if n := a.watching.Load() + b.watching.Load(); n != 0 {
			t.Errorf("%d watches go on after a panic", n)
		}
		m.Refresh("users")
		if a.refreshed.Load() != 1 || b.refreshed.Load() != 1 {
			t.Error("Refresh was not passed on to both")
		}
	})
}

func TestMergeRefuses(t *testing.T) {
	refuses(t, "nothing", discovery.Merge().Validate(), []string{"Merge", "no resolvers"})
	refuses(t, "nil", discovery.Merge(discovery.Services{}, nil).Validate(), []string{"Merge", "Merge[1]", "nil"})
	refuses(t, "inner errors", discovery.Merge(invalid{}).Validate(), []string{"Merge[0]", "not in order"})
	refuses(t, "fine", discovery.Merge(discovery.Services{}, discovery.NewRegistry()).Validate(), nil)
	synctest.Test(t, func(t *testing.T) {
		record(t, discovery.Merge(), "users").came("!discovery: Merge has no resolvers, want one at least")
	})
}
