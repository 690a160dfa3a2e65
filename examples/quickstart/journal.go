package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// journal keeps what the Mesh logs. It is a slog.Handler.
type journal struct {
	mu      sync.Mutex
	entries []entry // guarded by mu
}

// entry is one line of the log.
type entry struct {
	at       time.Time
	text     string
	service  string
	endpoint string // empty where it is about no one endpoint
}

// about returns the entries about a service, oldest first.
func (j *journal) about(service string) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.entries), func(e entry) bool { return e.service != service })
}

// Handle keeps a record.
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	e := entry{at: r.Time, text: strings.TrimPrefix(r.Message, "fairlead: ")}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "service":
			e.service = a.Value.String()
		case "endpoint":
			e.endpoint = a.Value.String()
		}
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
	return nil
}

// Enabled lets everything pass.
func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs ignores the attributes: the Mesh puts all it has to say into its records.
func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }

// WithGroup ignores the group.
func (j *journal) WithGroup(string) slog.Handler { return j }
