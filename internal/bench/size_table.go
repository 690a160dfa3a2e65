package main

// sizeTable has a line for each entry of contests that differ in the number of
// endpoints, and a column for each number.
type sizeTable struct {
	title, about string
	heads        []string
	names        []string                     // in the order in which they were first seen
	cells        map[string]map[string]string // by name and head
}

func newSizeTable(title, about string) *sizeTable {
	return &sizeTable{title: title, about: about, cells: make(map[string]map[string]string)}
}

// add adds the column of n endpoints.
func (t *sizeTable) add(n int, results []*result, cell func(*result) string) {
	t.extra("n = "+group(n), results, cell)
}

// extra adds a column.
func (t *sizeTable) extra(head string, results []*result, cell func(*result) string) {
	t.heads = append(t.heads, head)
	for _, r := range results {
		if t.cells[r.name] == nil {
			t.names = append(t.names, r.name)
			t.cells[r.name] = make(map[string]string)
		}
		t.cells[r.name][head] = cell(r)
	}
}

// table returns it, with a dash where an entry was not in a contest.
func (t *sizeTable) table() *table {
	out := &table{title: t.title, about: t.about, head: append([]string{""}, t.heads...)}
	for _, name := range t.names {
		row := []string{name}
		for _, head := range t.heads {
			cell := t.cells[name][head]
			if cell == "" {
				cell = absent
			}
			row = append(row, cell)
		}
		out.rows = append(out.rows, row)
	}
	return out
}
