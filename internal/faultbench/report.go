package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report prints a scenario's figures and bounds, and tells whether all held.
func report(w io.Writer, r *Result, took time.Duration) bool {
	s := r.Scenario
	fmt.Fprintf(w, "\n== %s (%s, %d callers, %d calls/s, %.1f s)\n", s.Name, s.Mesh.Guard, s.Load.Callers, s.Load.Rate, took.Seconds())
	r.printCalls(w)
	r.printLatencies(w)
	fmt.Fprintf(w, "left over: %d goroutines, %d connections, %d descriptors\n", r.Left.Goroutines, r.Left.Connections, r.Left.Descriptors)
	held := true
	for _, b := range slices.Concat(s.Bounds, always) {
		held = b.print(w, r) && held
	}
	return held
}

func (r *Result) printCalls(w io.Writer) {
	fmt.Fprintf(w, "calls %d, requests at the servers %d, attempts per call %.4f (during the fault %.4f)\n",
		len(r.Records), r.Counts.Requests, attemptsPerCall(r.Records), attemptsPerCall(r.faulty()))
	for _, m := range []method{get, post, rpc} {
		if errors, bodies, calls := r.kinds(m); calls > 0 {
			fmt.Fprintf(w, "%d %s: errors: %s; bodies broken off: %s\n", calls, m, list(errors), list(bodies))
		}
	}
}

func (r *Result) printLatencies(w io.Writer) {
	for _, part := range []struct {
		name    string
		records []record
	}{{"all", r.Records}, {"before", r.steady()}, {"during", r.faulty()}, {"after", r.after()}} {
		if len(part.records) == 0 {
			continue
		}
		all := latencies(part.records)
		fmt.Fprintf(w, "%-7s p50 %s  p99 %s  p99.9 %s  of %d calls\n", part.name,
			ms(percentile(all, 0.5)), ms(percentile(all, 0.99)), ms(percentile(all, 0.999)), len(all))
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

// list prints counts by kind, the most frequent first.
func list(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, kind := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}

func (b *Bound) print(w io.Writer, r *Result) bool {
	got := b.of(r)
	word := "pass"
	if !(got <= b.Most) {
		word = "FAIL"
	}
	fmt.Fprintf(w, "  %s  %-34s %10s  at most %s\n", word, b.Name, b.unit.format(got), b.unit.format(b.Most))
	return got <= b.Most
}

// listAll prints the scenarios and what must hold in each.
func listAll(w io.Writer, scenarios []Scenario) {
	for i := range scenarios {
		s := &scenarios[i]
		fmt.Fprintf(w, "%s (%s, %v)\n", s.Name, s.Mesh.Guard, s.Length)
		for _, b := range s.Bounds {
			fmt.Fprintf(w, "  %-34s at most %s\n", b.Name, b.unit.format(b.Most))
		}
	}
}
