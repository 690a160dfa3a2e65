package consul_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/consul"
	"github.com/fairlead-go/fairlead/internal/consultest"
)

var (
	kindness     = flag.Duration("kindness", 1500*time.Millisecond, "how long each phase of TestKindness is measured")
	kindnessWait = flag.Duration("kindness.wait", time.Second, "Config.Wait of TestKindness")
)

// TestKindness watches 200 services through one agent and tells what that costs
// the agent and us, over plain HTTP and over HTTPS. It asserts the counts:
//
//   - at rest one query per watch and wait,
//   - while one service flaps 20 times a second, at most 50 queries and 6 a
//     second more,
//   - 200 connections over plain HTTP, once those that the start left over have
//     ended, and at most 4 over HTTPS.
//
// For the figures in a README:
//
//	go test -run TestKindness -v ./discovery/consul -kindness 2m -kindness.wait 1m
func TestKindness(t *testing.T) {
	agent := consultest.Start(t, consultest.WithTLS(), consultest.WithConfig(`limits { http_max_conns_per_client = 300 }`))
	const services = 200
	for i := range services {
		name := fmt.Sprintf("s%03d", i)
		enlistAs(t, agent, name, name, 80)
	}
	t.Run("nobody", func(t *testing.T) {
		rest := measure(agent, func() {})
		flapping := measure(agent, flap(t, agent))
		t.Logf("agent's CPU: %.1f %% at rest, %.1f %% while one service flaps 20 times a second", rest, flapping)
	})
	for _, test := range []struct {
		name   string
		conns  int
		config consul.Config
	}{
		{"HTTP", services, consul.Config{Address: agent.Addr}},
		{"HTTPS", 4, consul.Config{Address: agent.SecureAddr(), TLS: agent.TLS()}},
	} {
		t.Run(test.name, func(t *testing.T) { testKindness(t, agent, test.config, services, test.conns) })
	}
}

func testKindness(t *testing.T, agent *consultest.Agent, config consul.Config, services, conns int) {
	var queries atomic.Int64
	config.Wait = *kindnessWait
	config.TokenSource = func(context.Context) (string, error) { // asked before each query
		queries.Add(1)
		return "", nil
	}
	goroutines, memory, own := runtime.NumGoroutine(), heap(), agent.Connections()
	resolver := newResolver(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	var known, watches sync.WaitGroup
	known.Add(services)
	began := measureCPU(agent)
	for i := range services {
		watches.Go(func() { watch(ctx, resolver, fmt.Sprintf("s%03d", i), known.Done) })
	}
	known.Wait()
	t.Logf("the first sets of %d services cost %d queries and the agent %v of CPU time", services, queries.Load(), began())
	defer watches.Wait()
	defer cancel()

	time.Sleep(*kindnessWait) // so that the waits no longer end together
	queries.Store(0)
	rest := measure(agent, func() {})
	atRest := queries.Swap(0)
	flapping := measure(agent, flap(t, agent))
	whileFlapping := queries.Load()
	t.Logf("agent's CPU: %.1f %% at rest, %.1f %% while one service flaps 20 times a second", rest, flapping)
	perMinute := float64(atRest) / kindness.Minutes() * kindnessWait.Minutes()
	t.Logf("queries in %v with a wait of %v: %d at rest, %d while one flaps; so with the default wait of 60 s: %.0f a minute at rest",
		*kindness, *kindnessWait, atRest, whileFlapping, perMinute)
	inUse := agent.Connections() - own
	for deadline := time.Now().Add(patience); inUse > conns && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		inUse = agent.Connections() - own
	}
	t.Logf("per service: %.1f goroutines, %.1f KiB of heap, %.2f connections",
		float64(runtime.NumGoroutine()-goroutines)/float64(services), float64(heap()-memory)/1024/float64(services), float64(inUse)/float64(services))

	most := int64(float64(services) * (kindness.Seconds()/(kindnessWait.Seconds()*3/4) + 1))
	if atRest > most {
		t.Errorf("%d queries at rest, want at most %d", atRest, most)
	}
	if most += 50 + 6*int64(kindness.Seconds()); whileFlapping > most {
		t.Errorf("%d queries while one service flaps, want at most %d", whileFlapping, most)
	}
	if inUse > conns {
		t.Errorf("%d connections, want at most %d", inUse, conns)
	}
}

// watch ranges until ctx ends, and calls first after the first set.
func watch(ctx context.Context, resolver discovery.Resolver, service string, first func()) {
	for _, err := range resolver.Watch(ctx, service) {
		if err == nil && first != nil {
			first()
			first = nil
		}
	}
}

// flap moves a service from port to port for as long as is measured.
func flap(t *testing.T, agent *consultest.Agent) func() {
	return func() {
		every(50*time.Millisecond, *kindness, func(i int) { enlistAs(t, agent, "s000", "s000", 81+i%2) })
	}
}

// measure returns the agent's CPU in per cent of one core, during do and for as
// long as is measured.
func measure(agent *consultest.Agent, do func()) float64 {
	began, used := time.Now(), measureCPU(agent)
	do()
	time.Sleep(*kindness - time.Since(began))
	return 100 * used().Seconds() / time.Since(began).Seconds()
}

func measureCPU(agent *consultest.Agent) func() time.Duration {
	began := agent.CPUTime()
	return func() time.Duration { return agent.CPUTime() - began }
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
