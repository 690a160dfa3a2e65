package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"time"
)

// host runs contests, and says on errors what was seen so far.
type host struct {
	effort
	log io.Writer
}

// run runs a contest.
func (h *host) run(c *contest) []*result {
	fmt.Fprintf(h.log, "%s\n", c.name)
	results := c.run(h.effort)
	for _, r := range results {
		fmt.Fprintf(h.log, "\t%v\n", r)
	}
	return results
}

// section is a part of the report.
type section struct {
	name   string
	tables func(*host) ([]*table, error)
}

func sections() []section {
	return []section{
		{"picks", pickTables},
	}
}

func main() {
	rounds := flag.Int("rounds", 31, "rounds of each contest")
	slice := flag.Duration("slice", 10*time.Millisecond, "`time` that each contestant works in a round")
	only := flag.String("run", "", "run the sections whose names match the `regexp`")
	flag.Parse()
	h := &host{effort{*rounds, *slice}, os.Stderr}
	if err := report(h, *only, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func report(h *host, only string, w io.Writer) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	for _, s := range sections() {
		if !chosen.MatchString(s.name) {
			continue
		}
		tables, err := s.tables(h)
		if err != nil {
			return err
		}
		for _, t := range tables {
			t.write(w)
		}
	}
	return nil
}
