package main

import (
	"math"
	"slices"
	"time"
)

// Result is what a scenario showed.
type Result struct {
	Scenario   *Scenario
	Records    []record
	Unanswered bool
	From, To   time.Duration // when it was wrong, as it was
	Counts     Counts        // of the servers
	Left       usage
	Died       int // servers that ended by themselves
	Twice      int // calls executed more than once that may not be
}

// between returns the records of calls that began then.
func (r *Result) between(from, to time.Duration) []record {
	at := func(t time.Duration) int {
		i, _ := slices.BinarySearchFunc(r.Records, t, func(rec record, t time.Duration) int { return int(rec.start - t) })
		return i
	}
	return r.Records[at(from):max(at(from), at(to))]
}

func (r *Result) faulty() []record { return r.between(r.From, r.To) }
func (r *Result) after() []record  { return r.between(r.To, math.MaxInt64) }

// share is the share of records that are so.
func share(records []record, so func(*record) bool) float64 {
	if len(records) == 0 {
		return 0
	}
	n := 0
	for i := range records {
		if so(&records[i]) {
			n++
		}
	}
	return float64(n) / float64(len(records))
}

func errorsBefore(r *record) bool { return r.failed() }

// attemptsPerCall is as the caller counts; RPCs are not counted.
func attemptsPerCall(records []record) float64 {
	calls, sent := 0, 0
	for i := range records {
		if records[i].method != rpc {
			calls++
			sent += int(records[i].attempts)
		}
	}
	return float64(sent) / float64(max(calls, 1))
}

// percentile is the exact one by the nearest rank: the smallest latency that
// at least p of all do not exceed. It sorts.
func percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	slices.Sort(latencies)
	rank := int(math.Ceil(p * float64(len(latencies))))
	return latencies[min(max(rank, 1), len(latencies))-1]
}

func latencies(records []record) []time.Duration {
	all := make([]time.Duration, 0, len(records))
	for i := range records {
		all = append(all, records[i].took)
	}
	return all
}

// letIn is how long after the end of the fault the last of those that healed
// answered a call well, or for ever.
func (r *Result) letIn() time.Duration {
	last := time.Duration(0)
	for slot := range r.Scenario.sick() {
		at := time.Duration(math.MaxInt64)
		for _, rec := range r.after() {
			if int(rec.slot) == slot && !rec.failed() {
				at = min(at, rec.start+rec.took-r.To)
			}
		}
		last = max(last, at)
	}
	return last
}

// shares counts who answered since then.
func (r *Result) shares(since time.Duration) []int {
	counts := make([]int, r.Scenario.Servers)
	for _, rec := range r.between(since, math.MaxInt64) {
		if rec.slot >= 0 {
			counts[rec.slot]++
		}
	}
	return counts
}

// lastError is how long after the fault's end the last call began that failed.
func (r *Result) lastError() time.Duration {
	last := time.Duration(0)
	for _, rec := range r.after() {
		if rec.failed() {
			last = rec.start - r.To
		}
	}
	return last
}

// kinds counts the errors of calls by a method by kind, those of broken bodies
// apart, and the calls.
func (r *Result) kinds(m method) (errors, bodies map[string]int, calls int) {
	errors, bodies = make(map[string]int), make(map[string]int)
	for i := range r.Records {
		rec := &r.Records[i]
		if rec.method != m {
			continue
		}
		calls++
		switch {
		case rec.failed():
			errors[rec.kind]++
		case rec.broken:
			bodies[rec.kind]++
		}
	}
	return errors, bodies, calls
}
