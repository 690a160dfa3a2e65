package grpcbalancer_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// No call fails or is forgotten while endpoints come and go, as long as one of
// them stays from each set to the next.
func TestChurn(t *testing.T) {
	policies := []balancer.Policy{balancer.RoundRobin(), balancer.P2C(), balancer.IPHash()}
	for _, policy := range policies {
		t.Run(policy.Name(), func(t *testing.T) {
			_, addrs := newBackends(t, 5)
			registry := discovery.NewRegistry()
			set := func(addrs []string) {
				if err := registry.Set("users", discovery.Addrs(addrs...)...); err != nil {
					t.Error(err)
				}
			}
			set(addrs)
			mesh := newMesh(t, registry, fairlead.WithBalancer(policy))
			conn := dial(t, mesh, "fairlead:///users")

			var over atomic.Bool
			var callers sync.WaitGroup
			for i := range 8 {
				callers.Go(func() {
					for !over.Load() {
						if err := check(t.Context(), conn, grpc.WaitForReady(i%2 == 0)); err != nil {
							t.Errorf("wait for ready %t: %v", i%2 == 0, err)
							return
						}
					}
				})
			}
			changes := time.NewTicker(3 * time.Millisecond)
			defer changes.Stop()
			random := rand.New(rand.NewPCG(1, 2))
			size := len(addrs)
			for range 200 {
				<-changes.C
				stays, others := random.IntN(size), addrs[1:]
				addrs[0], addrs[stays] = addrs[stays], addrs[0]
				random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
				size = 1 + random.IntN(len(addrs))
				set(addrs[:size])
			}
			over.Store(true)
			callers.Wait()
			for _, s := range mesh.Status().Services {
				for _, e := range s.Endpoints {
					if e.InFlight != 0 || e.Breaker != "closed" {
						t.Errorf("%+v", e)
					}
				}
			}
		})
	}
}
