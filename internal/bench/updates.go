package main

import (
	"fmt"
	"slices"
)

// updater is a balancer's way to take in that its endpoints changed.
type updater struct {
	name string
	most int // endpoints at which it is started; 0 is any number

	// start returns what takes in the change, forth in every other call and back in
	// the next, and what ends it.
	start func(from, to []string) (*turner, error)
}

// turner is an updater at work.
type turner struct {
	turn  func(forth bool) error
	where func() (addr string, err error) // picks once; nil where there is nothing to pick from
	stop  func()

	// work does n turns at a time, where one after another would be mostly waiting.
	work func(n int) error
}

// change is what is the matter, and those who take it in.
type change struct {
	title    string
	about    string
	to       func(from []string) []string // nil where only readiness changes
	sizes    []int
	updaters []updater
}

const updatesAbout = "The first line copies a slice of n pointers and publishes it, and is what the ratios are to. Peers' lines are their balancers' own functions, without connections: " +
	"gRPC's and go-zero's in a ClientConn where connections are there at once, httplb's pickers, kratos' selectors. fairlead's are a Balancer's, without what a Mesh gives to an endpoint, such as its breaker and its transport. "

// changes are all that can be the matter.
func changes() []change {
	return []change{
		{
			title: "Updates: one of n endpoints is replaced by another",
			about: updatesAbout + "The new endpoint's connection coming up is part of it for gRPC and go-zero.",
			to:    oneReplaced, sizes: []int{10, 1000, 10_000},
			updaters: slices.Concat(oursUpdated(), peersUpdated()),
		},
		{
			title: "Updates: all endpoints are replaced by others",
			about: updatesAbout + "All new endpoints' connections coming up one after another is part of it for gRPC and go-zero; ring_hash connects later.",
			to:    allReplaced, sizes: []int{10, 1000},
			updaters: slices.Concat(oursUpdated(), peersUpdated()),
		},
		{
			title: "Updates: one of n endpoints stops or begins to be ready",
			about: updatesAbout + "fairlead merges rebuilds that follow closely, with pauses of 2 ms and more, so a change waits here until the Balancer says that what it rebuilt is in use, and no two share a rebuild. " +
				"Sixteen Balancers wait at a time, so that the process does not mostly fall asleep and wake up; the timers and goroutines that rebuild are part of it. " +
				"gRPC's are told by their health listener, go-zero's by a connection that fails and is back. httplb makes a picker of those that are ready. kratos knows no readiness.",
			sizes:    []int{10, 1000},
			updaters: slices.Concat(oursFlipped(), peersFlipped()),
		},
		{
			title: "Updates: a policy's new picker when one of n endpoints stops or begins to be ready",
			about: "The policy's part of a build that looks at all endpoints. So do builds where more than sixteen changed at once, and all of the last two policies'; for the others a change of one, as above, takes less. " +
				"Where a new picker takes longer than 250 µs, as the tables of weights and hashes do, fairlead makes it at most once a second, off the calls' path, but for endpoints that leave, which is at once.",
			sizes: []int{10, 1000, 10_000}, updaters: pickersMade(),
		},
	}
}

func oneReplaced(from []string) []string {
	to := slices.Clone(from)
	to[len(to)/2] = address(1 << 16)
	return to
}

func allReplaced(from []string) []string {
	to := make([]string, len(from))
	for i := range to {
		to[i] = address(1<<16 + i)
	}
	return to
}

func (c *change) contest(n int) *contest {
	from := addresses(n)
	to := from
	if c.to != nil {
		to = c.to(from)
	}
	contest := &contest{name: fmt.Sprintf("%s, n = %d", c.title, n)}
	for _, u := range append([]updater{copied}, c.updaters...) {
		if u.most == 0 || n <= u.most {
			contest.entries = append(contest.entries, u.entry(from, to))
		}
	}
	return contest
}

func (u *updater) entry(from, to []string) entry {
	return entry{u.name, func() (worker, error) {
		t, err := u.start(from, to)
		if err != nil {
			return worker{}, err
		}
		if t.work != nil {
			return worker{stop: t.stop, work: t.work}, nil
		}
		forth := false
		return worker{stop: t.stop, work: func(n int) error {
			for range n {
				forth = !forth
				if err := t.turn(forth); err != nil {
					return err
				}
			}
			return nil
		}}, nil
	}}
}

func updateTables(h *host) ([]*table, error) {
	var tables []*table
	for _, c := range changes() {
		t := newSizeTable(c.title, c.about)
		var counted []*result
		for _, n := range c.sizes {
			results, err := h.run(c.contest(n))
			if err != nil {
				return nil, err
			}
			t.add(n, results, (*result).cost)
			if n == 1000 {
				counted = results
			}
		}
		t.extra("allocations, n = 1,000", counted, (*result).allocations)
		tables = append(tables, t.table())
	}
	return tables, nil
}
