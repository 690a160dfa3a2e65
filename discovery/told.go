package discovery

// told is what a watch yielded last. The zero value has yielded nothing.
type told struct {
	snapshot Snapshot
	some     bool
	final    bool // beside an error
	doubted  bool // an error came after it
}

// doubt makes the next snapshot news, whatever it says: it ends an error.
func (t *told) doubt() { t.doubted = true }

// news reports whether the snapshot, with the error beside it, says other than
// what was yielded last, and remembers it if so.
func (t *told) news(s Snapshot, err error) bool {
	if t.some && !t.doubted && t.final == (err != nil) && t.snapshot.Equal(s) {
		return false
	}
	*t = told{snapshot: s, some: true, final: err != nil}
	return true
}
