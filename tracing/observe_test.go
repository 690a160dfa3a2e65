package tracing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/tracing"
)

func usersState() []tracing.ServiceState {
	return []tracing.ServiceState{{
		Service:     "users",
		SnapshotAge: 1500 * time.Millisecond,
		Budget:      7.5,
		Endpoints: []tracing.EndpointState{
			{Endpoint: "a", State: "ready", Breaker: "closed"},
			{Endpoint: "b", State: "ready", Breaker: "off"},
			{Endpoint: "c", State: "open", Breaker: "open"},
			{Endpoint: "d", State: "half-open", Breaker: "half-open"},
		},
	}}
}

func TestObserve(t *testing.T) {
	r := newRig(t)
	if err := r.Observe(usersState); err != nil {
		t.Fatal(err)
	}
	down := func() []tracing.ServiceState {
		return []tracing.ServiceState{{Service: "orders", SnapshotAge: -1}}
	}
	if err := r.Observe(down); err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string]float64{
		"fairlead.budget":       {"fairlead.service=users": 7.5, "fairlead.service=orders": 0},
		"fairlead.snapshot.age": {"fairlead.service=users": 1.5},
		"fairlead.breaker.state": {
			"fairlead.endpoint=a,fairlead.service=users": 0,
			"fairlead.endpoint=c,fairlead.service=users": 2,
			"fairlead.endpoint=d,fairlead.service=users": 1,
		},
		"fairlead.endpoints": {
			"fairlead.service=users,fairlead.state=ready":     2,
			"fairlead.service=users,fairlead.state=open":      1,
			"fairlead.service=users,fairlead.state=half-open": 1,
			"fairlead.service=orders,fairlead.state=ready":    0,
		},
	}
	for name, want := range tests {
		if diff := cmp.Diff(want, points(t, r.reader, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCloseEndsObserving(t *testing.T) {
	r := newRig(t)
	if err := r.Observe(usersState); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := points(t, r.reader, "fairlead.budget"); len(got) != 0 {
		t.Errorf("budget %v after Close", got)
	}
	if err := r.Observe(usersState); !errors.Is(err, tracing.ErrClosed) {
		t.Errorf("Observe after Close: %v, want ErrClosed", err)
	}
}
