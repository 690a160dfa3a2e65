// Package newest names the newest versions of grpc-go and OpenTelemetry, with
// which .ci/test runs the tests of the packages that use them once more. The
// root's go.mod names the oldest that will do. It is a module of its own, outside
// go.work, so that it raises nobody's versions.
package newest

import (
	_ "go.opentelemetry.io/otel/sdk/metric"
	_ "go.opentelemetry.io/otel/sdk/trace"
	_ "google.golang.org/grpc"

	_ "github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	_ "github.com/fairlead-go/fairlead/internal/interop"
	_ "github.com/fairlead-go/fairlead/tracing"
)
