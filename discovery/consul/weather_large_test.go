package consul_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

// fleet is many instances of users on a few nodes that no agent speaks for.
type fleet struct {
	agent *consultest.Agent
	size  int
}

const (
	fleetNodes = 5
	maxOps     = 128 // of one transaction, by Consul's bound
)

// enlistFleet registers them, some dozens in each write.
func enlistFleet(t *testing.T, agent *consultest.Agent, size int) fleet {
	t.Helper()
	fl := fleet{agent, size}
	var ops api.TxnOps
	for n := range fleetNodes {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: node(n), Address: "10.1.0.1"}}})
	}
	for i := range size {
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node(i), Service: api.AgentService{
			ID: id(i), Service: "users", Address: fmt.Sprintf("10.2.%d.%d", i/250, i%250), Port: 80,
			Tags: []string{"v2"}, Meta: map[string]string{"version": "2.1.0"},
		}}}, fl.health(i, true))
	}
	fl.do(t, ops)
	return fl
}

func node(i int) string { return fmt.Sprintf("node-%d", i%fleetNodes) }
func id(i int) string   { return fmt.Sprintf("u%05d", i) }

// health is what makes one instance passing or critical.
func (fl fleet) health(i int, passing bool) *api.TxnOp {
	status := api.HealthCritical
	if passing {
		status = api.HealthPassing
	}
	return &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
		Node: node(i), CheckID: "check:" + id(i), Name: "check", ServiceID: id(i), Status: status,
	}}}
}

func (fl fleet) do(t *testing.T, ops api.TxnOps) {
	t.Helper()
	for len(ops) > 0 {
		n := min(maxOps, len(ops))
		ok, response, _, err := fl.agent.Client.Txn().Txn(ops[:n], nil)
		if err != nil || !ok {
			t.Fatal(response, err)
		}
		ops = ops[n:]
	}
}

// every calls do with the numbers from 0 until d is over.
func every(interval, d time.Duration, do func(i int)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	end := time.After(d)
	for i := 0; ; i++ {
		select {
		case <-end:
			return
		case <-tick.C:
			do(i)
		}
	}
}

// TestLargeService has 5,000 instances of which one goes every 200 ms for 10 s:
// at most 13 queries, and the set is right within 3 s after the last one (15 s
// where the race detector slows the decoding).
func TestLargeService(t *testing.T) {
	t.Parallel()
	const size = 5000
	agent := consultest.Start(t)
	fl := enlistFleet(t, agent, size)
	addr, requests := counter(t, agent)
	f := follow(t, newResolver(t, swift(&consultest.Agent{Addr: addr})), "users")
	f.until("all", func(e event) bool { return len(e.Endpoints) == size })
	began := requests.Load()
	gone := 0
	every(200*time.Millisecond, 10*time.Second, func(i int) {
		fl.do(t, api.TxnOps{fl.health(i, false)})
		gone++
	})
	if n := requests.Load() - began; n > 13 {
		t.Errorf("%d queries in 10 s, want at most 13", n)
	} else {
		t.Logf("%d queries in 10 s, of 4 MB each", n)
	}
	ended := time.Now()
	e := f.until("the last set", func(e event) bool {
		if e.err != nil || len(e.Endpoints) < size-gone {
			t.Errorf("got %d instances, %v", len(e.Endpoints), e.err)
		}
		return len(e.Endpoints) == size-gone
	})
	took := max(0, e.at.Sub(ended))
	if took > slowdown*3*time.Second {
		t.Errorf("the set is right %v after the last change, want within %v", took, slowdown*3*time.Second)
	}
	t.Logf("the set is right %v after the last change", took)
}

// TestFlapping has 20 instances whose checks flap 50 times a second for 5 s: at
// most 50 queries at once and 5 a second, since each brings news, and the set is
// right within 2 s after they stand still.
func TestFlapping(t *testing.T) {
	for name, config := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testFlapping(t, consultest.Start(t, consultest.WithConfig(config)))
		})
	}
}

func testFlapping(t *testing.T, agent *consultest.Agent) {
	const size = 20
	fl := enlistFleet(t, agent, size)
	addr, requests := counter(t, agent)
	f := follow(t, newResolver(t, swift(&consultest.Agent{Addr: addr})), "users")
	f.until("all", func(e event) bool { return len(e.Endpoints) == size })
	began := requests.Load()
	var flips atomic.Int64
	all := func(passing func(i int) bool) {
		var ops api.TxnOps
		for i := range size {
			ops = append(ops, fl.health(i, passing(i)))
		}
		fl.do(t, ops)
	}
	every(20*time.Millisecond, 5*time.Second, func(n int) {
		flips.Add(1)
		all(func(i int) bool { return (i+n)%2 == 0 })
	})
	all(func(i int) bool { return i > 0 })
	ended := time.Now()
	if n := requests.Load() - began; n > 50+6*5 {
		t.Errorf("%d queries in 5 s, want at most 80", n)
	} else {
		t.Logf("%d queries in 5 s, in which all flapped %d times", n, flips.Load())
	}
	e := f.until("the last set", func(e event) bool {
		if e.err != nil || len(e.Endpoints) < size/2 {
			t.Errorf("got %d instances, %v", len(e.Endpoints), e.err)
		}
		return len(e.Endpoints) == size-1
	})
	if took := e.at.Sub(ended); took > soon {
		t.Errorf("the set is right %v after the last change, want within %v", took, soon)
	} else {
		t.Logf("the set is right %v after the last change", took)
	}
}
