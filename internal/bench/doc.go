// Bench runs Fairlead and its peers side by side, in one process and one run, and
// writes what it saw as tables.
//
// All who do the same work compete in a contest. In each of its rounds each of
// them works for a slice of time, in a new order, and what a table shows are
// medians over the rounds: of the CPU time that one piece of work took, and of its
// ratio to that of the first line in the same round. So what else the machine does
// meets all alike. Servers are this program again, in processes of their own.
//
//	go run . -run http
//	go run . -rounds 7 -slice 5ms -out report.md
//
// It is a module of its own, outside go.work, so that it raises nobody's versions.
package main
