package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report prints what happened, from what the Mesh, its log and the callers saw.
type report struct {
	w        io.Writer
	fleet    fleet
	outage   outage
	calls    map[string][]call
	journal  *journal
	attempts attempts
}

// print prints all services. The error is of calls that failed.
func (r report) print() error {
	var errs []error
	for _, s := range services {
		calls := r.calls[s.name()]
		failed := failures(calls)
		if len(failed) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d calls failed, want none; the first: %w", s.name(), len(failed), failed[0]))
		}
		fmt.Fprintf(r.w, "\n%s: %d calls, %d errors, %d retries\n",
			s.name(), len(calls), len(failed), r.attempts[s.name()].Load()-int64(len(calls)))
		r.printShares(s, calls)
		r.printLog(s)
		if s.sticky {
			fmt.Fprintf(r.w, "  %-16s %s\n", "users", whereUsersWent(calls, r.outage))
		}
	}
	return errors.Join(errs...)
}

func failures(calls []call) []error {
	var errs []error
	for _, c := range calls {
		if c.err != nil {
			errs = append(errs, c.err)
		}
	}
	return errs
}

// printShares prints who was picked how often, and how long the calls took.
func (r report) printShares(s service, calls []call) {
	phases := r.outage.phases()
	r.printRow("server", phases, func(p phase) string { return p.name })
	for _, server := range r.fleet {
		name := server.id
		if s.weighted {
			name += fmt.Sprintf(", weight %d", server.weight)
		}
		r.printRow(name, phases, func(p phase) string { return bar(p.picks(s.name(), server.id), p.allPicks(s.name())) })
	}
	r.printRow("p50, p99", phases, func(p phase) string { return latencies(p.of(calls)) })
}

func (r report) printRow(name string, phases []phase, cell func(phase) string) {
	line := fmt.Sprintf("  %-16s", name)
	for _, p := range phases {
		line += fmt.Sprintf(" %-24s", cell(p))
	}
	fmt.Fprintln(r.w, strings.TrimRight(line, " "))
}

// bar shows a number, and its share of all as a bar.
func bar(n, all uint32) string {
	const full = 32 // were there only one server
	length := 0
	if n > 0 {
		length = max(1, int(uint64(n)*full/uint64(all)))
	}
	return fmt.Sprintf("%5d %s", n, strings.Repeat("█", length))
}

func latencies(calls []call) string {
	if len(calls) == 0 {
		return "none"
	}
	took := make([]time.Duration, len(calls))
	for i, c := range calls {
		took[i] = c.took
	}
	slices.Sort(took)
	ms := func(percent int) float64 { return took[(len(took)-1)*percent/100].Seconds() * 1000 }
	return fmt.Sprintf("%.1f ms, %.1f ms", ms(50), ms(99))
}

// printLog prints what the Mesh logged of the service, a line for each endpoint:
// breakers that moved.
func (r report) printLog(s service) {
	lines := make(map[string][]string)
	for _, e := range r.journal.about(s.name()) {
		lines[e.endpoint] = append(lines[e.endpoint], fmt.Sprintf("%.2f s %s", e.at.Sub(r.outage.began.at).Seconds(), e.text))
	}
	for _, endpoint := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(r.w, "  %-16s %s\n", "log of "+endpoint, strings.Join(lines[endpoint], ", "))
	}
}
