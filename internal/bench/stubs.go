package main

import (
	"io"
)

func loopbackTables(h *host) ([]*table, error)   { return nil, nil }
func grpcTables(h *host) ([]*table, error)       { return nil, nil }
func updateTables(h *host) ([]*table, error)     { return nil, nil }
func memoryTables(h *host) ([]*table, error)     { return nil, nil }
func writeHead(w io.Writer, args []string) error { return nil }
func becomeChild() bool                          { return false }
