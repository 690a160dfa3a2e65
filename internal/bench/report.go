package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
)

// remarks say where the time goes that is left, and why it stays.
//
//go:embed remarks.md
var remarks []byte

// report runs the sections, and writes what they found where all can read it.
func report(h *host, some []section, args []string, file string, out io.Writer) error {
	var text bytes.Buffer
	if err := writeHead(&text, h.effort, args); err != nil {
		return err
	}
	for _, s := range some {
		tables, err := s.tables(h)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, t := range tables {
			t.write(&text)
		}
	}
	if file != "" {
		text.Write(remarks)
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	_, err := out.Write(text.Bytes())
	return err
}
