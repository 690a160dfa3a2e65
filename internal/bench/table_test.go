package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table := &table{title: "Title", about: "About.", head: []string{"", "µs"}, rows: [][]string{{"one", "1"}, {"fifteen", "15 ×"}}}
	var out strings.Builder
	table.write(&out)
	want := "## Title\n\nAbout.\n\n" +
		"|         |   µs |\n" +
		"| ------- | ---: |\n" +
		"| one     |    1 |\n" +
		"| fifteen | 15 × |\n\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// Who is not in a contest has a dash there.
func TestSizeTable(t *testing.T) {
	s := newSizeTable("", "")
	name := func(r *result) string { return "of " + r.name }
	s.add(10, []*result{{name: "a"}, {name: "b"}}, name)
	s.add(1000, []*result{{name: "a"}}, name)
	s.extra("more", []*result{{name: "b"}}, name)
	table := s.table()
	rows := [][]string{table.head, table.rows[0], table.rows[1]}
	want := [][]string{{"", "n = 10", "n = 1,000", "more"}, {"a", "of a", "of a", "-"}, {"b", "of b", "-", "of b"}}
	for i := range want {
		if got := strings.Join(rows[i], "|"); got != strings.Join(want[i], "|") {
			t.Errorf("line %d is %s, want %s", i, got, strings.Join(want[i], "|"))
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{duration(0), "0.00 ns"}, {duration(59.96), "60.0 ns"}, {duration(1500), "1.50 µs"}, {duration(2.5e6), "2.50 ms"},
		{size(100), "100 B"}, {size(1536), "1.50 KiB"}, {times(1.7), "1.70 ×"}, {times(82427.4), "82,427 ×"}, {group(999), "999"}, {group(1_000_001), "1,000,001"},
		{(&result{allocs: 0.49}).allocations(), "0"}, {(&result{allocs: 2025.6}).allocations(), "2,026"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
