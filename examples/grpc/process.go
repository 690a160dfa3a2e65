package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// childVariable, in the environment, makes a server end with the process that
// started it.
const childVariable = "FAIRLEAD_EXAMPLE_CHILD"

// endWithParent returns ctx, ended also by the end of the input where it is a
// parent that holds it.
func endWithParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if os.Getenv(childVariable) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return ctx, cancel
}

// process is a server in a process of its own.
type process struct {
	id  string
	cmd *exec.Cmd
}

// start starts this program once more, as a server.
func (p *process) start() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "serve", p.id)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	if line := bufio.NewScanner(out); !line.Scan() {
		p.kill()
		return fmt.Errorf("server %s did not start", p.id)
	}
	return nil
}

// leave is what an orchestrator does: SIGTERM, and patience.
func (p *process) leave() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// kill is SIGKILL: no goodbye to callers or to Consul.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}
