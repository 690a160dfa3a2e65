package main
import "testing"
func loop(b *testing.B, c client) {
	s, err := c.open(inMemory()); if err != nil { b.Fatal(err) }
	if s.close != nil { defer s.close() }
	for range 1000 { if err := s.call(); err != nil { b.Fatal(err) } }
	b.ReportAllocs(); b.ResetTimer()
	for range b.N { s.call() }
}
func BenchmarkBare(b *testing.B) { loop(b, bare) }
func BenchmarkFair(b *testing.B) { loop(b, fairleadDefault) }
func BenchmarkHttplb(b *testing.B) { loop(b, httplbClient) }
