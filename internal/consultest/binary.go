package consultest

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/fairlead-go/fairlead"

// binary returns the path of Consul's binary, or ends the test.
func binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("FAIRLEAD_CONSUL"); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("consultest: FAIRLEAD_CONSUL: %v", err)
		}
		return path
	}
	if root := moduleRoot(); root != "" {
		path := filepath.Join(root, ".bin", "consul")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	const missing = "consultest: no Consul binary: run `make consul` (once, some minutes), or set FAIRLEAD_CONSUL"
	if os.Getenv("FAIRLEAD_NO_SKIP") == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// moduleRoot walks up from the working directory, past nested modules.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if declares(filepath.Join(dir, "go.mod"), module) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func declares(file, module string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 2 && fields[0] == "module" {
			return fields[1] == module
		}
	}
	return false
}
