package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fairlead-go/fairlead"
)

// seenWithin is how long a change may take to reach the callers. Consul's
// checks are a second apart.
const seenWithin = 15 * time.Second

// play makes the changes one after the other while the load goes on, and prints
// a line for each.
func play(ctx context.Context, w io.Writer, mesh *fairlead.Mesh, f *fleet, l *load, cfg config) error {
	fmt.Fprintf(w, "\n%-26s %-46s %s\n", "change", "reached the callers", "calls in the "+cfg.watch.String()+" after it")
	fmt.Fprintf(w, "%-26s %-46s", "", "")
	for _, s := range f.servers {
		fmt.Fprintf(w, " %7s", s.id)
	}
	fmt.Fprintln(w)
	if err := printCounts(ctx, w, "(two servers)", "", f, l, cfg); err != nil {
		return err
	}
	for _, s := range steps(f) {
		reached, err := s.make(ctx, mesh)
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.server.id, s.what, err)
		}
		if err := printCounts(ctx, w, s.server.id+" "+s.what, reached, f, l, cfg); err != nil {
			return err
		}
	}
	return nil
}

// make makes the change and tells when it was seen.
func (s step) make(ctx context.Context, mesh *fairlead.Mesh) (reached string, err error) {
	var seen []string
	began := time.Now()
	if err := s.change(); err != nil {
		return "", err
	}
	for _, sight := range s.sights {
		err := await(ctx, seenWithin, sight.what, func() bool { return sight.holds(endpointAt(mesh.Status(), s.server.addr)) })
		if err != nil {
			return "", err
		}
		seen = append(seen, fmt.Sprintf("%s %.1f ms", sight.what, time.Since(began).Seconds()*1000))
	}
	return strings.Join(seen, ", "), nil
}

// printCounts counts who answers for a while, and prints a line.
func printCounts(ctx context.Context, w io.Writer, what, reached string, f *fleet, l *load, cfg config) error {
	before := l.answers()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(cfg.watch):
	}
	after := l.answers()
	fmt.Fprintf(w, "%-26s %-46s", what, reached)
	for _, s := range f.servers {
		fmt.Fprintf(w, " %7d", after[s.id]-before[s.id])
	}
	fmt.Fprintln(w)
	return nil
}

func endpointAt(status fairlead.Status, addr string) (e fairlead.EndpointStatus, member bool) {
	for _, s := range status.Services {
		for _, e := range s.Endpoints {
			if e.Addr == addr {
				return e, true
			}
		}
	}
	return fairlead.EndpointStatus{}, false
}
