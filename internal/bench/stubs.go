package main

import (
	"io"
)

func updateTables(h *host) ([]*table, error)     { return nil, nil }
func memoryTables(h *host) ([]*table, error)     { return nil, nil }
func writeHead(w io.Writer, args []string) error { return nil }
