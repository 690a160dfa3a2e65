package grpcbalancer

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/fairlead-go/fairlead"
)

// maxReconnectDelay bounds gRPC's pause between two attempts to connect to an
// endpoint: as long as a breaker is open at most. gRPC's own two minutes would
// keep an endpoint out long after it came back.
const maxReconnectDelay = 10 * time.Second

// minConnectTimeout is gRPC's own default.
const minConnectTimeout = 20 * time.Second

// DialOptions returns what makes a grpc.ClientConn use mesh for targets of the
// form "fairlead:///service". They can be used for any number of ClientConns;
// several Meshes do not get in each other's way. Options that come after them win,
// but for a service config: that is always ours. A nil mesh is an error of each call.
//
// Its first call in a process registers Fairlead's one name with gRPC, whose
// registry is not safe for concurrent use: make that call before other
// goroutines make ClientConns.
func DialOptions(mesh *fairlead.Mesh) []grpc.DialOption {
	reconnect := backoff.DefaultConfig
	reconnect.MaxDelay = maxReconnectDelay
	i := &interceptors{mesh: mesh}
	return append(meshOptions(mesh),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: minConnectTimeout}),
		grpc.WithChainUnaryInterceptor(i.unary),
		grpc.WithChainStreamInterceptor(i.open),
	)
}
