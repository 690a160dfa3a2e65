package breaker_test

import (
	"testing"

	"github.com/sony/gobreaker/v2"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/breaker"
)

// BenchmarkCall is what a closed breaker costs a call, beside the state machine
// it is made of.
func BenchmarkCall(b *testing.B) {
	success := balancer.Outcome{Verdict: balancer.Success}
	group := newGroup(b, breaker.Config{})
	ours := group.Add(breaker.Hooks{})
	b.Cleanup(ours.Close)
	bare := gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{})
	callOurs := func() {
		token, err := ours.Allow()
		if err != nil {
			b.Error(err)
			return
		}
		ours.Done(token, success)
		ours.Ended(balancer.Success)
	}
	callBare := func() {
		done, err := bare.Allow()
		if err != nil {
			b.Error(err)
			return
		}
		done(nil)
	}
	for _, bm := range []struct {
		name string
		call func()
	}{{"gobreaker", callBare}, {"breaker", callOurs}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bm.call()
			}
		})
		b.Run(bm.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					bm.call()
				}
			})
		})
	}
}
