package main

import (
	"fmt"
	"regexp"
)

// section is a part of the report.
type section struct {
	name   string
	tables func(*host) ([]*table, error)
}

func sections() []section {
	return []section{
		{"http", httpTables},
		{"loopback", loopbackTables},
		{"grpc", grpcTables},
		{"picks", pickTables},
		{"updates", updateTables},
		{"memory", memoryTables},
	}
}

// choose returns the sections whose names match.
func choose(pattern string) ([]section, error) {
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var some []section
	for _, s := range sections() {
		if matches.MatchString(s.name) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("-run is %q, want what matches the name of a section", pattern)
	}
	return some, nil
}
