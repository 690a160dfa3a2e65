package consul

import "log/slog"

// maxWarnings bounds what a watch says and remembers of bad entries.
const maxWarnings = 64

// warner logs each bad entry of a service once.
type warner struct {
	logger *slog.Logger
	target target
	warned map[string]bool
}

func (w *warner) warn(problems []string) {
	for _, problem := range problems {
		if w.warned[problem] || len(w.warned) >= maxWarnings {
			continue
		}
		if w.warned == nil {
			w.warned = make(map[string]bool)
		}
		w.warned[problem] = true
		w.logger.Warn("consul: skipped an entry of the registry", "service", w.target.service,
			"datacenter", w.target.datacenter, "problem", problem)
	}
}
