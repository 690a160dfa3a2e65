// Connect calls a service of Connect's by name: unary calls without side effects
// go out as GET, so that they are balanced and, when a server is killed, sent
// again elsewhere. It needs nothing but Go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// ids are the servers, and the columns of the table.
var ids = []string{"users-1", "users-2", "users-3"}

func run(ctx context.Context, w io.Writer, calls int) error {
	fleet, err := startFleet(ids)
	if err != nil {
		return err
	}
	defer fleet.kill()

	// Who exists: here a fixed table, elsewhere consul.New. The same servers have
	// two names, since an endpoint's transport speaks HTTP/1.1 or HTTP/2 to it.
	attempts := &attempts{}
	mesh, err := fairlead.New(discovery.Services{"users": fleet.endpoints(), "users-h2c": fleet.endpoints()},
		fairlead.WithBalancer(balancer.RoundRobin()), // so that the counts below are even
		fairlead.WithTimeout(5*time.Second),
		fairlead.WithAttemptMiddleware(attempts.count),
		fairlead.ForService("users-h2c", fairlead.WithTransport(speakH2C)),
	)
	if err != nil {
		return err
	}
	defer mesh.Close()

	// Connect's protocol, with GET for what is safe; gRPC's is always POST.
	byConnect := newClient(mesh.Client(), "http://users",
		connect.WithHTTPGet(), connect.WithIdempotency(connect.IdempotencyNoSideEffects))
	byGRPC := newClient(mesh.Client(), "http://users-h2c", connect.WithGRPC())

	fmt.Fprintf(w, "%-50s %s\n", "", strings.Join(ids, " "))
	load := load{w, calls, attempts}
	return errors.Join(
		load.play(ctx, "by gRPC", byGRPC, nil),
		load.play(ctx, "by Connect", byConnect, nil),
		load.play(ctx, "by Connect, users-2 killed halfway", byConnect, fleet[1].kill),
	)
}

// newClient is what protoc-gen-connect-go would generate.
func newClient(client *http.Client, baseURL string, options ...connect.ClientOption) *client {
	return connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, baseURL+nameProcedure, options...)
}

type client = connect.Client[wrapperspb.StringValue, wrapperspb.StringValue]

// speakH2C makes an endpoint's transport speak HTTP/2 without TLS, as gRPC's
// protocol wants it.
func speakH2C(t *http.Transport) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
}

func main() {
	if err := run(context.Background(), os.Stdout, 1200); err != nil {
		fmt.Fprintln(os.Stderr, "connect:", err)
		os.Exit(1)
	}
}
