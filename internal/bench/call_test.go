package main

import "testing"

// BenchmarkHTTP has each client make calls in memory by itself, for profilers and for
// counters of instructions. Contests compare them better.
func BenchmarkHTTP(b *testing.B) {
	for _, c := range httpClients() {
		b.Run(c.name, func(b *testing.B) {
			worker, err := c.entry(inMemory()).start()
			if err != nil {
				b.Fatal(err)
			}
			if worker.stop != nil {
				defer worker.stop()
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := worker.work(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
}
