package consul_test

import "net/http"

// nobody is an agent that knows nothing and takes everything.
func nobody(_ int64, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		say(w, "", "{}")
	}
}
