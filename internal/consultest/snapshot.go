package consultest

import (
	"bytes"
	"io"
)

// Save returns the state of the servers.
func (a *Agent) Save() []byte {
	a.t.Helper()
	r, _, err := a.Client.Snapshot().Save(nil)
	if err != nil {
		a.t.Fatalf("consultest: saving a snapshot: %v", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		a.t.Fatalf("consultest: saving a snapshot: %v", err)
	}
	return data
}

// Restore replaces the state of the servers by one that was saved, of these
// servers or of others.
func (a *Agent) Restore(saved []byte) {
	a.t.Helper()
	if err := a.Client.Snapshot().Restore(nil, bytes.NewReader(saved)); err != nil {
		a.t.Fatalf("consultest: restoring a snapshot: %v", err)
	}
}
