package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if becomeChild() {
		return
	}
	quiet()
	// Packages of go-zero have goroutines of their own from the start.
	begun := goleak.IgnoreCurrent()
	code := m.Run()
	if code == 0 {
		code = leftOver(begun)
	}
	os.Exit(code)
}

// leftOver is 1 if a goroutine or a process was left behind.
func leftOver(begun goleak.Option) int {
	if err := goleak.Find(begun); err != nil {
		fmt.Println(err)
		return 1
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		fmt.Println("a process was left behind:", pid, err)
		return 1
	}
	return 0
}

func TestBadCommandLines(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-rounds", "-1"}, {"-rounds", "x"}, {"-slice", "0"}, {"-slice", "-1s"}, {"-slice", "x"},
		{"-run", "("}, {"-run", "no such section"}, {"-nosuch"}, {"extra"},
	} {
		var out, log strings.Builder
		if err := bench(args, &out, &log); err == nil {
			t.Errorf("%q is no error", args)
		}
		if out.Len() > 0 {
			t.Errorf("%q writes a report: %s", args, &out)
		}
	}
}

// A report says how it was made, and is the same in the file.
func TestReport(t *testing.T) {
	file := t.TempDir() + "/report.md"
	args := []string{"-rounds", "1", "-slice", "1ms", "-run", "^http$", "-out", file}
	var out, log strings.Builder
	if err := bench(args, &out, &log); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != out.String() {
		t.Errorf("the file has\n%s\nand the output\n%s", written, &out)
	}
	for _, want := range append([]string{"-run ^http$", "cores", "go1.", "## A whole HTTP call in memory"}, peers...) {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
	for _, c := range httpClients() {
		if !strings.Contains(out.String(), "\n| "+c.name+" ") {
			t.Errorf("the report lacks a line of %q:\n%s", c.name, &out)
		}
	}
}

// A report that cannot be written is an error.
func TestReportNowhere(t *testing.T) {
	err := report(&host{}, nil, nil, t.TempDir()+"/no/such/directory", &strings.Builder{})
	if err == nil {
		t.Error("no error")
	}
}
