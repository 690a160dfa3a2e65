package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// process is a process that we started.
type process struct{ cmd *exec.Cmd }

func (p *process) begin(cmd *exec.Cmd) error {
	p.cmd, cmd.Stderr = cmd, os.Stderr
	return cmd.Start()
}

// end kills it and waits for its end.
func (p *process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// cpuTime is what its one thread has spent so far.
func (p *process) cpuTime() (time.Duration, error) {
	file := fmt.Sprintf("/proc/%d/schedstat", p.cmd.Process.Pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	spent, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return time.Duration(spent), nil
}
