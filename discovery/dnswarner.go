package discovery

import "log/slog"

// maxDNSWarnings bounds what a watch says and remembers of bad records.
const maxDNSWarnings = 64

// dnsWarner logs each trouble of a service once.
type dnsWarner struct {
	logger  *slog.Logger
	service string
	warned  map[string]bool
}

// warn logs the message unless something was logged under the key before.
func (w *dnsWarner) warn(key, message string, args ...any) {
	if w.warned[key] || len(w.warned) >= maxDNSWarnings {
		return
	}
	if w.warned == nil {
		w.warned = make(map[string]bool)
	}
	w.warned[key] = true
	w.logger.Warn(message, append([]any{"service", w.service}, args...)...)
}
