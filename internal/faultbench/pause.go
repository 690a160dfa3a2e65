package main

import (
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// paused is a child between SIGSTOP and SIGCONT. It would not see the end of its
// input, so a shell that does kills it should the bench die.
type paused struct {
	of      *child
	watcher *exec.Cmd
	tie     io.WriteCloser
}

func (c *child) pause() (*paused, error) {
	p := &paused{of: c, watcher: exec.Command("sh", "-c", "read -r _; kill -9 "+strconv.Itoa(c.cmd.Process.Pid))}
	var err error
	if p.tie, err = p.watcher.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.watcher.Start(); err != nil {
		return nil, err
	}
	return p, c.cmd.Process.Signal(syscall.SIGSTOP)
}

func (p *paused) resume() error {
	_ = p.watcher.Process.Kill()
	_ = p.watcher.Wait()
	_ = p.tie.Close()
	return p.of.cmd.Process.Signal(syscall.SIGCONT)
}
