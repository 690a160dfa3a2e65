package retry_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/retry"
)

// BenchmarkCall is what the retry policy costs a call that needs no retry.
func BenchmarkCall(b *testing.B) {
	p := newPolicy(b, retry.Config{})
	once := func() {
		call := p.Begin(true)
		if !call.Retryable() || call.Next(final, usual).Again {
			b.Error("sent again")
		}
	}
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			once()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				once()
			}
		})
	})
}
