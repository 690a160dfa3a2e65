package consultest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// process is a running program, which does not outlive this one.
type process struct {
	cmd     *exec.Cmd
	watcher *exec.Cmd      // kills cmd when this program dies
	tie     io.WriteCloser // watcher waits for its end
	done    chan struct{}  // closed when cmd has ended, and err stands
	err     error
}

func startProcess(binary string, args []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	if err := p.watch(); err != nil {
		_ = p.end(os.Kill)
		return nil, fmt.Errorf("starting the watcher of the agent: %w", err)
	}
	return p, nil
}

// watch starts a shell that waits for the end of its input, which comes even
// if this program is killed, and then kills the process.
func (p *process) watch() error {
	p.watcher = exec.Command("sh", "-c", "read -r _; kill -9 "+strconv.Itoa(p.cmd.Process.Pid))
	var err error
	if p.tie, err = p.watcher.StdinPipe(); err != nil {
		return err
	}
	return p.watcher.Start()
}

// end signals the process and waits for its end. The watcher goes first, or it
// might kill whoever has the number next.
func (p *process) end(with os.Signal) error {
	if p.watcher.Process != nil {
		_ = p.watcher.Process.Kill()
		_ = p.watcher.Wait()
		_ = p.tie.Close()
	}
	_ = p.cmd.Process.Signal(with)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("the agent did not end within %v after %v", stopWithin, with)
	}
}
