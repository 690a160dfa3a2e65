package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

// role, in the environment, makes the program one of its own children.
const role = "FAIRLEAD_FAULTBENCH_ROLE"

const (
	serverRole = "server"
	proxyRole  = "proxies"
)

func main() {
	if becomeChild() {
		return
	}
	os.Exit(bench())
}

// becomeChild runs as what the environment says, if it says something.
func becomeChild() bool {
	switch os.Getenv(role) {
	case serverRole:
		serve()
	case proxyRole:
		proxies()
	default:
		return false
	}
	return true
}

func bench() int {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of all randomness of the bench")
	pattern := flag.String("run", "", "run the scenarios whose names match this regular expression")
	list := flag.Bool("list", false, "list the scenarios and their bounds, and run none")
	long := flag.Duration("soak", 0, "run the soak for this long, and nothing else")
	flag.Parse()
	scenarios, err := chosen(*seed, *pattern, *long)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultbench:", err)
		return 2
	}
	if *list {
		listAll(os.Stdout, scenarios)
		return 0
	}
	fmt.Printf("seed %d\n", *seed)
	return runAll(scenarios, *seed)
}

// chosen returns the valid scenarios that are to be run.
func chosen(seed uint64, pattern string, long time.Duration) ([]Scenario, error) {
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	all := table()
	if long != 0 {
		all = []Scenario{soak(seed, long)}
	}
	var some []Scenario
	for _, s := range all {
		if err := s.validate(); err != nil {
			return nil, err
		}
		if matches.MatchString(s.Name) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("-run is %q, want what matches the name of a scenario (see -list)", pattern)
	}
	return some, nil
}
