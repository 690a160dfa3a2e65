package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer/grpcbalancer"
	"github.com/fairlead-go/fairlead/discovery/consul"
)

const (
	overhead  = 2 * time.Minute // at most, of a scenario beyond its load
	endLoad   = 15 * time.Second
	endLeaks  = 5 * time.Second
	fairDelay = 3 * time.Second // after which shares are fair
	fairFor   = 4 * time.Second // how long they are counted
)

// runAll runs one scenario after the other and returns the exit code.
func runAll(scenarios []Scenario, seed uint64) int {
	var bad []string
	for i := range scenarios {
		if !runOne(&scenarios[i], seed) {
			bad = append(bad, scenarios[i].Name)
		}
	}
	fmt.Printf("\n%d scenarios, %d failed\n", len(scenarios), len(bad))
	for _, name := range bad {
		fmt.Printf("  FAIL  %s\n", name)
	}
	return min(len(bad), 1)
}

// runOne runs one scenario, within its hard deadline, prints it and tells
// whether its bounds held.
func runOne(s *Scenario, seed uint64) bool {
	deadline := time.AfterFunc(s.Length+s.LetIn+fairDelay+fairFor+overhead, func() {
		fmt.Printf("scenario %q ran out of its time\n", s.Name)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		os.Exit(1)
	})
	defer deadline.Stop()
	began := time.Now()
	r, err := run(s, seed)
	if err != nil {
		fmt.Printf("\n== %s\nthe bench failed: %v\n", s.Name, err)
		return false
	}
	return report(os.Stdout, r, time.Since(began))
}

// run runs one scenario.
func run(s *Scenario, seed uint64) (r *Result, err error) {
	defer catch(&err)
	on, err := newStage()
	if err != nil {
		return nil, err
	}
	defer on.close()
	f, err := startFleet(s, on)
	if err != nil {
		return nil, err
	}
	before := measure()
	r = &Result{Scenario: s}
	if err := r.play(f, seed); err != nil {
		return nil, err
	}
	r.Left = leftOver(before, endLeaks)
	r.Died, r.Counts = f.died(), f.count()
	times, err := f.executed()
	for _, n := range times {
		if n > 1 {
			r.Twice++
		}
	}
	return r, errors.Join(err, on.err())
}

// play opens a Mesh, puts it under load, takes the steps and closes it.
func (r *Result) play(f *fleet, seed uint64) error {
	resolver, err := consul.New(consul.Config{Address: f.agent.Addr})
	if err != nil {
		return err
	}
	mesh, err := r.Scenario.Mesh.open(resolver)
	if err != nil {
		return err
	}
	defer mesh.Close()
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	if err := awaitAll(ctx, mesh, r.Scenario.Servers); err != nil {
		return err
	}
	health, err := dial(mesh)
	if err != nil {
		return err
	}
	defer health.Close()
	l := startLoad(r.Scenario.Load, mesh.Client(), healthpb.NewHealthClient(health), seed)
	err = r.take(f, l)
	r.Records, r.Unanswered = l.end(r.Scenario.Load.Timeout + endLoad)
	return err
}

// awaitAll waits until the Mesh knows all servers.
func awaitAll(ctx context.Context, mesh *fairlead.Mesh, n int) error {
	for {
		if err := mesh.Ready(ctx, service); err != nil {
			return err
		}
		if len(mesh.Status().Services[0].Endpoints) == n {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func dial(mesh *fairlead.Mesh) (*grpc.ClientConn, error) {
	return grpc.NewClient("fairlead:///"+service,
		append(grpcbalancer.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// take takes the steps, and waits until the load has lasted long enough.
func (r *Result) take(f *fleet, l *load) error {
	s := r.Scenario
	r.From, r.To = s.fault()
	to := r.To
	for _, step := range s.Steps {
		time.Sleep(time.Until(l.began.Add(step.At)))
		if err := f.do(step); err != nil {
			return err
		}
		if step.At == to {
			r.To = time.Since(l.began)
		}
	}
	time.Sleep(time.Until(l.began.Add(s.Length)))
	if s.LetIn == 0 {
		return nil
	}
	for end := l.began.Add(r.To + s.LetIn); !l.servedSince(s.sick(), r.To) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(fairDelay + fairFor)
	return nil
}
