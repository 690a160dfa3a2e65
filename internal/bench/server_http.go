package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is the body of a server's answers.
var answer = strings.Repeat("x", 1<<10)

// serveHTTP serves until the process ends.
func serveHTTP(listeners []net.Listener) {
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer)
	})}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }()
	}
}
