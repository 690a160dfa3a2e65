package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// stage is what internal/consultest needs of a test: outside of one, a failure
// is a panic with a benchError, and cleanups run at close.
type stage struct {
	testing.TB
	dir      string
	cleanups []func()
	errs     []string
}

// benchError is a failure of the bench itself.
type benchError string

func (e benchError) Error() string { return string(e) }

func newStage() (*stage, error) {
	dir, err := os.MkdirTemp("", "faultbench")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return s, nil
}

func (s *stage) close() {
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		do := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		do()
	}
}

// catch turns a failure into an error. It is deferred.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case benchError:
		*err = r
	default:
		panic(r)
	}
}

func (s *stage) Helper()                   {}
func (s *stage) TempDir() string           { return s.dir }
func (s *stage) Cleanup(f func())          { s.cleanups = append(s.cleanups, f) }
func (s *stage) Failed() bool              { return len(s.errs) > 0 }
func (s *stage) Log(...any)                {}
func (s *stage) Logf(string, ...any)       {}
func (s *stage) Fatal(args ...any)         { panic(benchError(strings.TrimSpace(fmt.Sprintln(args...)))) }
func (s *stage) Fatalf(f string, a ...any) { panic(benchError(fmt.Sprintf(f, a...))) }
func (s *stage) Skip(args ...any)          { s.Fatal(args...) }
func (s *stage) Errorf(f string, a ...any) {
	s.errs = append(s.errs, fmt.Sprintf(f, a...))
}

// err is what was reported and did not end the scenario.
func (s *stage) err() error {
	if len(s.errs) == 0 {
		return nil
	}
	return benchError(strings.Join(s.errs, "; "))
}
