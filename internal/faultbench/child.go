package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

const (
	answerWithin = 10 * time.Second
	endWithin    = 40 * time.Second
)

// child is this program in another role. It ends when its input does, so that
// none outlives the bench.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan answer
	done    chan struct{} // closed when the process has ended
	ending  atomic.Bool   // we asked for its end
}

// startChild starts one and returns what it says first.
func startChild(as string, env ...string) (*child, answer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, answer{}, err
	}
	c := &child{cmd: exec.Command(self), answers: make(chan answer, 1), done: make(chan struct{})}
	c.cmd.Env = append(append(os.Environ(), role+"="+as), env...)
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, answer{}, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, answer{}, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, answer{}, err
	}
	go c.listen(out)
	first, err := c.await()
	if err != nil {
		c.end(os.Kill)
	}
	return c, first, err
}

func (c *child) listen(out io.Reader) {
	defer close(c.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			a.Err = "not an answer: " + strings.TrimSpace(lines.Text())
		}
		c.answers <- a
	}
	_ = c.cmd.Wait()
}

// ask tells it something and returns its answer. Not for concurrent use.
func (c *child) ask(what command) (answer, error) {
	line, err := json.Marshal(what)
	if err != nil {
		return answer{}, err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return answer{}, err
	}
	a, err := c.await()
	if err != nil {
		return a, fmt.Errorf("%s: %w", what.Do, err)
	}
	return a, nil
}

func (c *child) await() (answer, error) {
	select {
	case a := <-c.answers:
		if a.Err != "" {
			return a, errors.New(a.Err)
		}
		return a, nil
	case <-c.done:
		return answer{}, errors.New("the process has ended")
	case <-time.After(answerWithin):
		return answer{}, fmt.Errorf("the process says nothing for %v", answerWithin)
	}
}

// end signals the process and waits for its end.
func (c *child) end(with os.Signal) {
	c.ending.Store(true)
	_ = c.cmd.Process.Signal(with)
	select {
	case <-c.done:
	case <-time.After(endWithin):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	_ = c.in.Close()
}

// died reports whether it ended without being asked.
func (c *child) died() bool {
	select {
	case <-c.done:
		return !c.ending.Load()
	default:
		return false
	}
}

// obey is a child's main loop: it says hello, then answers each command of its
// input, whose end is its own.
func obey(hello answer, do func(command) (answer, error)) {
	say := json.NewEncoder(os.Stdout)
	_ = say.Encode(hello)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var c command
		a, err := answer{}, json.Unmarshal(lines.Bytes(), &c)
		if err == nil {
			a, err = do(c)
		}
		if err != nil {
			a.Err = err.Error()
		}
		_ = say.Encode(a)
	}
	os.Exit(0)
}
