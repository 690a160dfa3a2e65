package consultest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc, the same on every Linux.
const tick = time.Second / 100

// CPUTime returns the CPU time that the agent has used since it was started,
// in steps of 10 ms.
func (a *Agent) CPUTime() time.Duration {
	a.t.Helper()
	var sum time.Duration
	for _, field := range statFields(a.proc("stat"))[11:13] { // utime and stime
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			a.t.Fatalf("consultest: the CPU time of the agent: %v", err)
		}
		sum += time.Duration(ticks) * tick
	}
	return sum
}

// statFields returns the fields of a stat file of proc(5) that follow the name,
// which stands in parentheses and may hold anything.
func statFields(stat []byte) [][]byte {
	return bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
}

// paused reports whether all of the agent's threads have stopped.
func (a *Agent) paused() bool {
	a.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", a.process.cmd.Process.Pid))
	if err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
	for _, thread := range threads {
		if stat, err := os.ReadFile(thread); err == nil && string(statFields(stat)[0]) != "T" {
			return false
		}
	}
	return len(threads) > 0
}

// Connections returns how many TCP connections the agent's HTTP and HTTPS
// ports have open, the test's own among them.
func (a *Agent) Connections() int {
	a.t.Helper()
	const established = "01"
	n := 0
	for line := range strings.Lines(string(a.proc("net/tcp"))) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != established {
			continue
		}
		if fields[1] == procAddr(a.ports.http) || fields[1] == procAddr(a.ports.https) {
			n++
		}
	}
	return n
}

// procAddr is 127.0.0.1 with a port, as /proc/net/tcp writes it.
func procAddr(port int) string { return fmt.Sprintf("0100007F:%04X", port) }

func (a *Agent) proc(name string) []byte {
	a.t.Helper()
	if a.process == nil {
		a.t.Fatal("consultest: the agent is stopped")
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", a.process.cmd.Process.Pid, name))
	if err != nil {
		a.t.Fatalf("consultest: %v", err)
	}
	return data
}
