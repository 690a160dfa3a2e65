package interop_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/grpclog"
)

func TestMain(m *testing.M) {
	grpclog.SetLoggerV2(fatal{grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr)})
	goleak.VerifyTestMain(m)
}

// running is the test whose goroutine runs a case.
var running atomic.Pointer[testing.T]

// fatal is gRPC's logger. A case that fails says so by its Fatal, after which
// gRPC would end the process: it ends the test instead.
type fatal struct{ grpclog.LoggerV2 }

func (fatal) Fatal(args ...any)                 { die(fmt.Sprint(args...)) }
func (fatal) Fatalln(args ...any)               { die(fmt.Sprintln(args...)) }
func (fatal) Fatalf(format string, args ...any) { die(fmt.Sprintf(format, args...)) }

// die returns to gRPC, which exits, where it is not a case that failed.
func die(message string) {
	t := running.Load()
	if t == nil || !strings.HasPrefix(message, "[interop]") {
		fmt.Fprintln(os.Stderr, message)
		return
	}
	t.Fatal(message)
}
