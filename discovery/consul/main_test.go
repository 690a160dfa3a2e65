package consul_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs three tests at once where they are parallel: most of their time
// they wait for agents.
func TestMain(m *testing.M) {
	if agent := os.Getenv(registerAt); agent != "" {
		serveRegistered(agent)
		return
	}
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
