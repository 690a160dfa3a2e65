package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead"
)

// ids are the servers of the play, and the columns of its table.
var ids = []string{"users-1", "users-2", "users-3"}

// servers are the processes of the play, in the order of ids.
type servers []*process

// startServers returns those that were started, also with an error.
func startServers() (servers, error) {
	var all servers
	for _, id := range ids {
		p := &process{id: id}
		if err := p.start(); err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (s servers) kill() {
	for _, p := range s {
		p.kill()
	}
}

// play is what happens to the servers while everybody calls.
type play struct {
	w       io.Writer
	mesh    *fairlead.Mesh
	servers servers
	load    *load
	watch   time.Duration // for so long answers are counted after each step
}

// step is one thing that happens.
type step struct {
	what string
	do   func() error
	seen string                           // what is waited for then
	when func(before map[string]int) bool // whether that is so, by the answers before the step
}

func (p play) steps() []step {
	users1, users2 := p.servers[0], p.servers[1]
	nothing := func() error { return nil }
	kill := func() error { users1.kill(); return nil }
	return []step{
		{"three servers", nothing, "called", func(map[string]int) bool { return len(p.load.answers()) == len(ids) }},
		{"users-1 killed (SIGKILL)", kill, "out of the set", func(map[string]int) bool { return !p.listed("users-1") }},
		{"users-2 left (SIGTERM)", users2.leave, "ended", func(map[string]int) bool { return true }},
		{"users-1 started again", users1.start, "called", func(before map[string]int) bool {
			return p.load.answers()["users-1"] > before["users-1"]
		}},
	}
}

// listed reports whether a server is among those that Consul names to the Mesh.
func (p play) listed(id string) bool {
	for _, s := range p.mesh.Status().Services {
		for _, e := range s.Endpoints {
			if strings.HasSuffix(e.ID, "/"+id) { // the node's name comes before it
				return true
			}
		}
	}
	return false
}

// run plays, and prints who answered.
func (p play) run(ctx context.Context) error {
	fmt.Fprintf(p.w, "\n%-26s %-28s answers in the %v after it\n%-55s", "what happened", "seen", p.watch, "")
	for _, id := range ids {
		fmt.Fprintf(p.w, " %7s", id)
	}
	fmt.Fprintln(p.w)
	for _, s := range p.steps() {
		seen, err := p.take(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		if err := p.printAnswers(ctx, s.what, seen); err != nil {
			return err
		}
	}
	p.printRow("all answers", "", p.load.answers())
	return nil
}

// seenWithin is how long a step may take to be seen. Consul's checks are a
// second apart.
const seenWithin = 15 * time.Second

// take takes a step and tells how long it was until it was seen.
func (p play) take(ctx context.Context, s step) (string, error) {
	before := p.load.answers()
	began := time.Now()
	if err := s.do(); err != nil {
		return "", err
	}
	for !s.when(before) {
		if time.Since(began) > seenWithin {
			return "", fmt.Errorf("not %s within %v", s.seen, seenWithin)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s after %.0f ms", s.seen, time.Since(began).Seconds()*1000), nil
}

// printAnswers counts who answers for a while, and prints a line.
func (p play) printAnswers(ctx context.Context, what, seen string) error {
	before := p.load.answers()
	if err := pause(ctx, p.watch); err != nil {
		return err
	}
	after := p.load.answers()
	for id := range after {
		after[id] -= before[id]
	}
	p.printRow(what, seen, after)
	return nil
}

func (p play) printRow(what, seen string, answers map[string]int) {
	fmt.Fprintf(p.w, "%-26s %-28s", what, seen)
	for _, id := range ids {
		fmt.Fprintf(p.w, " %7d", answers[id])
	}
	fmt.Fprintln(p.w)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
