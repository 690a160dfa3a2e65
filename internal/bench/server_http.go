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

// serveHTTP serves until the process ends, and returns where.
func serveHTTP() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer)
	})}
	go func() { _ = server.Serve(l) }()
	return l.Addr().String(), nil
}
