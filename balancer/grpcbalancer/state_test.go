package grpcbalancer

import (
	"errors"
	"testing"

	"google.golang.org/grpc/connectivity"

	"github.com/fairlead-go/fairlead/balancer"
)

func TestTally(t *testing.T) {
	type conn struct {
		node  balancer.State
		state connectivity.State
		seen  bool
	}
	refused := errors.New("refused")
	tests := []struct {
		name   string
		conns  []conn
		state  connectivity.State
		coming bool
		err    string
	}{
		{"nobody", nil, connectivity.TransientFailure, false, ""},
		{"only draining", []conn{{balancer.Draining, connectivity.Ready, true}}, connectivity.TransientFailure, false, ""},
		{"connected", []conn{{balancer.Ready, connectivity.Ready, true}}, connectivity.Ready, false, ""},
		{"the view does not know yet", []conn{{balancer.Ready, connectivity.Ready, false}}, connectivity.Connecting, true, ""},
		{"waits for a probe", []conn{{balancer.HalfOpen, connectivity.Ready, true}}, connectivity.Ready, false, ""},
		{"breaker open", []conn{{balancer.Open, connectivity.Ready, true}}, connectivity.TransientFailure, false, ""},
		{"cools", []conn{{balancer.Cooling, connectivity.Ready, true}}, connectivity.TransientFailure, false, ""},
		{"connecting", []conn{{balancer.Ready, connectivity.Connecting, false}}, connectivity.Connecting, true, "none of 1 endpoints is connected"},
		{"lost", []conn{{balancer.Ready, connectivity.Idle, false}}, connectivity.Connecting, true, "none of 1 endpoints is connected"},
		{"just joined", []conn{{balancer.Cooling, connectivity.Idle, false}}, connectivity.Connecting, true, "none of 1 endpoints is connected"},
		{"connecting in vain", []conn{{balancer.Open, connectivity.Connecting, false}}, connectivity.TransientFailure, false, "none of 1 endpoints is connected"},
		{"failed", []conn{
			{balancer.Ready, connectivity.TransientFailure, false},
			{balancer.Open, connectivity.TransientFailure, false},
		}, connectivity.TransientFailure, false, "none of 2 endpoints is connected: refused"},
		{"some of each", []conn{
			{balancer.Ready, connectivity.Ready, true},
			{balancer.Ready, connectivity.Connecting, false},
			{balancer.Ready, connectivity.TransientFailure, false},
		}, connectivity.Ready, true, ""},
		{"the connected one is broken, another comes", []conn{
			{balancer.Open, connectivity.Ready, true},
			{balancer.Ready, connectivity.Connecting, false},
		}, connectivity.Connecting, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got tally
			for _, c := range tt.conns {
				got.add(c.node, c.state, c.seen, refused)
			}
			if got.state() != tt.state || got.coming != tt.coming {
				t.Errorf("%v, coming %t; want %v, %t", got.state(), got.coming, tt.state, tt.coming)
			}
			text := ""
			if err := got.err(); err != nil {
				text = err.Error()
			}
			if text != tt.err {
				t.Errorf("error %q, want %q", text, tt.err)
			}
		})
	}
}
