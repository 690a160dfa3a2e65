package fairlead_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/fairlead-go/fairlead"

// floors of the packages: imports only go down. Packages of one floor do not
// import each other, except where a package stands below another's name.
var floors = map[string]int{
	"internal/monotime":      -1,
	"internal/wake":          -1,
	"discovery":              0,
	"internal/rolling":       0,
	"internal/xxh64":         0,
	"discovery/consul":       1,
	"discovery/resolvertest": 1,
	"balancer":               1,
	"balancer/policytest":    2,
	"balancer/health":        2,
	"breaker":                2,
	"retry":                  2,
	"tracing":                2,
	"":                       3,
	"balancer/grpcbalancer":  4,
	"internal/consultest":    5,
	"internal/silence":       5,
}

// heavy are the modules that only those link who ask for them.
var heavy = map[string]string{
	"google.golang.org/grpc":              "balancer/grpcbalancer",
	"github.com/hashicorp/consul/api":     "discovery/consul",
	"github.com/sony/gobreaker/v2":        "breaker",
	"github.com/cenkalti/backoff/v4":      "retry",
	"go.opentelemetry.io/otel":            "tracing",
	"go.opentelemetry.io/otel/sdk":        "",
	"go.opentelemetry.io/otel/sdk/metric": "",
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK=off") // the examples have a module of their own
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

func TestImportsOnlyGoDown(t *testing.T) {
	for _, path := range goList(t, module+"/...") {
		pkg := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		floor, ok := floors[pkg]
		if !ok {
			t.Errorf("package %q has no floor: say in this test where it stands", pkg)
			continue
		}
		for _, dep := range goList(t, "-f", `{{join .Imports "\n"}}`, path) {
			below, own := strings.CutPrefix(dep, module)
			if !own {
				continue
			}
			if other := floors[strings.TrimPrefix(below, "/")]; other >= floor {
				t.Errorf("%q (floor %d) imports %q (floor %d), want only what is below", pkg, floor, dep, other)
			}
		}
	}
}

// A user links only what he asks for: over HTTP neither gRPC nor Consul, and no
// SDK of OpenTelemetry at all.
func TestUsersLinkOnlyWhatTheyAskFor(t *testing.T) {
	links := func(path string) map[string]bool {
		all := map[string]bool{}
		for _, dep := range goList(t, "-deps", path) {
			all[dep] = true
		}
		return all
	}
	http := links(module)
	for name, owner := range heavy {
		for dep := range http {
			if dep != name && !strings.HasPrefix(dep, name+"/") {
				continue
			}
			if owner == "balancer/grpcbalancer" || owner == "discovery/consul" || owner == "" && strings.HasPrefix(dep, "go.opentelemetry.io/otel/sdk") {
				t.Errorf("a user of HTTP alone links %s", dep)
			}
		}
	}
	core := links(module + "/balancer")
	for dep := range core {
		if dep == "net/http" || strings.Contains(strings.SplitN(dep, "/", 2)[0], ".") && !strings.HasPrefix(dep, module) {
			t.Errorf("package balancer links %s, want the standard library without net/http", dep)
		}
	}
	for dep := range links(module + "/balancer/grpcbalancer") {
		if strings.HasPrefix(dep, "github.com/hashicorp/consul") {
			t.Errorf("a user of gRPC links %s", dep)
		}
	}
}
