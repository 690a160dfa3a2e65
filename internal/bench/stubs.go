package main

import (
	"io"
)

func memoryTables(h *host) ([]*table, error)     { return nil, nil }
func writeHead(w io.Writer, args []string) error { return nil }
