package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// peers are the modules that we are compared with, and what they build on.
var peers = []string{
	"github.com/bufbuild/httplb",
	"google.golang.org/grpc",
	"github.com/go-kit/kit",
	"github.com/go-kratos/kratos/v2",
	"github.com/zeromicro/go-zero",
	"github.com/failsafe-go/failsafe-go",
	"github.com/hashicorp/go-retryablehttp",
	"github.com/gojek/heimdall/v7",
	"github.com/sony/gobreaker/v2",
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc",
	"go.opentelemetry.io/otel/sdk",
}

// writeHead says how, where, when and with what the report was made.
func writeHead(w io.Writer, e effort, args []string) error {
	machine, err := describeMachine()
	if err != nil {
		return err
	}
	versions, err := peerVersions()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# Benchmarks\n\n")
	fmt.Fprintf(w, "- made by `%s` in `internal/bench`, where README.md says how to read this\n", command(args))
	fmt.Fprintf(w, "- in %d rounds with slices of %v or more%s\n", e.rounds, e.slice, revision())
	fmt.Fprintf(w, "- on %s\n", machine)
	fmt.Fprintf(w, "- with %s\n", strings.Join(versions, ", "))
	fmt.Fprintf(w, "- at %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"))
	return nil
}

// command is how the report was made.
func command(args []string) string {
	return strings.Join(append([]string{"GOWORK=off go run ."}, args...), " ")
}

// revision is that of the code that runs, where git knows.
func revision() string {
	commit, err := exec.Command("git", "describe", "--always").Output()
	if err != nil {
		return ""
	}
	of := ", of " + strings.TrimSpace(string(commit))
	changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs").Output()
	if err != nil || len(changed) > 0 {
		of += " and what was changed since"
	}
	return of
}

// describeMachine says what the report was made on.
func describeMachine() (string, error) {
	model, err := cpuModel()
	if err != nil {
		return "", err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return "", err
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(kernel.Release[:]), "-")
	return fmt.Sprintf("%s, %d cores, %s %s, %s", model, runtime.GOMAXPROCS(0),
		unix.ByteSliceToString(kernel.Sysname[:]), release, runtime.Version()), nil
}

// cpuModel is the processor's name, its architecture where it has none.
func cpuModel() (string, error) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value), nil
		}
	}
	return runtime.GOARCH, nil
}

// peerVersions are the peers with the versions that this program was built with.
func peerVersions() ([]string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, fmt.Errorf("the program does not know what it was built with")
	}
	built := make(map[string]string)
	for _, m := range info.Deps {
		built[m.Path] = m.Version
	}
	var versions []string
	for _, p := range peers {
		if built[p] == "" {
			return nil, fmt.Errorf("the program was not built with %s", p)
		}
		versions = append(versions, p+" "+built[p])
	}
	if nginxInstalled() {
		version, err := nginxVersion()
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, nil
}

// nginxVersion is what nginx says of itself.
func nginxVersion() (string, error) {
	out, err := exec.Command("nginx", "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nginx -v: %w", err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), "nginx version:")), nil
}
