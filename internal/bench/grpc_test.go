package main

import (
	"os"
	"testing"
)

// TestGRPC has each client meet all servers, and make calls.
func TestGRPC(t *testing.T) {
	fleet := serving(t, grpcRole, 3)
	for _, callers := range []int{1, manyCallers} {
		runs(t, rpcContest(fleet.addrs(), callers))
	}
}

// A server's process has spent some time once it has been started.
func TestCPUTimeOfAProcess(t *testing.T) {
	fleet := serving(t, httpRole, 1)
	if spent, err := fleet[0].cpuTime(); err != nil || spent <= 0 {
		t.Errorf("it has spent %v, error %v", spent, err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
