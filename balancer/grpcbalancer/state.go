package grpcbalancer

import (
	"fmt"

	"google.golang.org/grpc/connectivity"

	"github.com/fairlead-go/fairlead/balancer"
)

// tally is what the connections of a ClientConn amount to.
type tally struct {
	endpoints int   // that are not draining
	connected int   // of these
	usable    bool  // one of them can be picked
	coming    bool  // one of the others may be soon, without anybody's doing
	failure   error // of some connection that failed
}

// add counts the connection to a node. seen says that the view picks among its
// connected nodes by now.
func (t *tally) add(node balancer.State, conn connectivity.State, seen bool, failure error) {
	if node == balancer.Draining {
		return
	}
	t.endpoints++
	switch {
	case conn == connectivity.TransientFailure:
		t.failure = failure
	case conn == connectivity.Ready && seen:
		t.usable = t.usable || node == balancer.Ready || node == balancer.HalfOpen
	default:
		// Of one that has just joined, no more is known than that no gate refuses.
		t.coming = t.coming || node != balancer.Open
	}
	if conn == connectivity.Ready {
		t.connected++
	}
}

// state is the ClientConn's.
func (t *tally) state() connectivity.State {
	switch {
	case t.usable:
		return connectivity.Ready
	case t.coming:
		return connectivity.Connecting
	}
	return connectivity.TransientFailure
}

// err says why no node can be picked, where that is for want of a connection.
func (t *tally) err() error {
	switch {
	case t.endpoints == 0 || t.connected > 0:
		return nil
	case t.failure == nil:
		return fmt.Errorf("none of %d endpoints is connected", t.endpoints)
	}
	//nolint:errorlint // with a status in the chain gRPC would end the calls that wait for a connection
	return fmt.Errorf("none of %d endpoints is connected: %v", t.endpoints, t.failure)
}
