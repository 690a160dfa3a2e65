package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

// step is something that happens to a server while everybody calls.
type step struct {
	what   string
	server *process
	do     func() error
	called bool // whether the server is called afterwards
}

func steps(servers map[string]*process) []step {
	kill := func(p *process) func() error {
		return func() error { p.kill(); return nil }
	}
	users1, orders1, orders3 := servers["users-1"], servers["orders-1"], servers["orders-3"]
	return []step{
		{"started", orders3, orders3.start, true},
		{"left (SIGTERM)", orders1, orders1.leave, false},
		{"killed (SIGKILL)", users1, kill(users1), false},
		{"started again", users1, users1.start, true},
		{"started again", orders1, orders1.start, true},
	}
}

// play lets servers come and go under load, and prints who answered.
func play(ctx context.Context, w io.Writer, watch time.Duration) error {
	servers := make(map[string]*process)
	for _, id := range ids {
		servers[id] = &process{service: serviceOf(id), id: id}
		defer servers[id].kill()
	}
	for _, id := range []string{"users-1", "users-2", "orders-1", "orders-2"} { // one comes later
		if err := servers[id].start(); err != nil {
			return err
		}
	}
	resolver, err := consul.New(consul.Config{})
	if err != nil {
		return err
	}
	defer resolver.Close()
	mesh, err := fairlead.New(resolver, fairlead.WithTimeout(5*time.Second))
	if err != nil {
		return err
	}
	defer mesh.Close()
	if err := mesh.Ready(ctx, "users", "orders"); err != nil {
		return err
	}
	load := startLoad(ctx, mesh.Client())
	defer load.end()
	if err := playSteps(ctx, w, steps(servers), load, watch); err != nil {
		return err
	}
	calls, failed := load.end()
	fmt.Fprintf(w, "\n%d calls, %d errors\n", calls, len(failed))
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d calls failed, want none; the first: %w", len(failed), calls, failed[0])
	}
	return nil
}

func playSteps(ctx context.Context, w io.Writer, steps []step, load *load, watch time.Duration) error {
	fmt.Fprintf(w, "\n%-28s %-22s answers in the %v after it\n", "what happened", "took", watch)
	fmt.Fprintf(w, "%-51s", "")
	for _, id := range ids {
		fmt.Fprintf(w, " %8s", id)
	}
	fmt.Fprintln(w)
	if err := printAnswers(ctx, w, "(two servers of each)", "", load, watch); err != nil {
		return err
	}
	for _, s := range steps {
		took, err := s.take(ctx, load)
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.server.id, s.what, err)
		}
		if err := printAnswers(ctx, w, s.server.id+" "+s.what, took, load, watch); err != nil {
			return err
		}
	}
	return nil
}

// calledWithin is how long a new server may be without a call.
const calledWithin = 15 * time.Second

// take does it and tells how long it took: until the server's first answer, or
// until its process had ended.
func (s step) take(ctx context.Context, load *load) (string, error) {
	before := load.answers()[s.server.id]
	began := time.Now()
	if err := s.do(); err != nil {
		return "", err
	}
	if !s.called {
		return fmt.Sprintf("ended after %.0f ms", time.Since(began).Seconds()*1000), nil
	}
	for load.answers()[s.server.id] == before {
		if time.Since(began) > calledWithin {
			return "", fmt.Errorf("no call within %v", calledWithin)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("called after %.0f ms", time.Since(began).Seconds()*1000), nil
}

func printAnswers(ctx context.Context, w io.Writer, what, took string, load *load, watch time.Duration) error {
	before := load.answers()
	if err := pause(ctx, watch); err != nil {
		return err
	}
	after := load.answers()
	fmt.Fprintf(w, "%-28s %-22s", what, took)
	for _, id := range ids {
		fmt.Fprintf(w, " %8d", after[id]-before[id])
	}
	fmt.Fprintln(w)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
