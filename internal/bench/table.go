package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// table is what a reader sees of one contest or of several that differ in one number.
type table struct {
	title string
	about string // what was measured, in a sentence or more
	head  []string
	rows  [][]string
}

// absent stands where nothing was measured.
const absent = "-"

// column is one figure of each result.
type column struct {
	head string
	of   func(*result) string
}

// The columns of tables in which each result is a line.
var (
	ratioColumn = column{"CPU time, ratio", func(r *result) string { return times(median(r.ratio)) }}
	// quartilesColumn is between which ratios half of the rounds were.
	quartilesColumn = column{"half of them", func(r *result) string {
		return three(quantile(r.ratio, 0.25)) + " – " + three(quantile(r.ratio, 0.75))
	}}

	cpuColumn    = column{"CPU time", func(r *result) string { return duration(median(r.cpu)) }}
	p50Column    = column{"p50", func(r *result) string { return duration(median(r.p50)) }}
	slowerColumn = column{"p50, ratio", func(r *result) string { return times(median(r.slower)) }}
	allocsColumn = column{"allocations", (*result).allocations}
	bytesColumn  = column{"bytes", func(r *result) string { return size(r.bytes) }}
)

// fill makes each result a line.
func (t *table) fill(results []*result, columns ...column) {
	t.head = []string{""}
	for _, c := range columns {
		t.head = append(t.head, c.head)
	}
	for _, r := range results {
		row := []string{r.name}
		for _, c := range columns {
			row = append(row, c.of(r))
		}
		t.rows = append(t.rows, row)
	}
}

// write writes the table as Markdown, with columns of equal width so that it can be
// read as text too.
func (t *table) write(w io.Writer) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n", t.title, t.about)
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	line := func(cells []string, pad string) {
		for i, cell := range cells {
			fill := strings.Repeat(pad, width[i]-len([]rune(cell)))
			if i == 0 {
				fmt.Fprintf(w, "| %s%s ", cell, fill)
			} else {
				fmt.Fprintf(w, "| %s%s ", fill, cell)
			}
		}
		fmt.Fprintln(w, "|")
	}
	line(t.head, " ")
	rule := make([]string, len(t.head))
	for i := range rule {
		if rule[i] = strings.Repeat("-", width[i]); i > 0 {
			rule[i] = rule[i][1:] + ":"
		}
	}
	line(rule, "-")
	for _, row := range t.rows {
		line(row, " ")
	}
	fmt.Fprintln(w)
}

// duration writes nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return three(ns) + " ns"
	case ns < 1e6:
		return three(ns/1e3) + " µs"
	default:
		return three(ns/1e6) + " ms"
	}
}

func size(bytes float64) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%.0f B", bytes)
	}
	return three(bytes/(1<<10)) + " KiB"
}

func times(ratio float64) string { return three(ratio) + " ×" }

func three(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return group(int(math.Round(v)))
	}
}

// group writes a number with its thousands apart.
func group(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", group(n/1000), n%1000)
}
