package consul_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if agent := os.Getenv(registerAt); agent != "" {
		serveRegistered(agent)
		return
	}
	goleak.VerifyTestMain(m)
}
