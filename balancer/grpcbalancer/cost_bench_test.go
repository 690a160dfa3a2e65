//go:build unix

package grpcbalancer_test

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// inParallel is how many callers a ClientConn has where it has more than one.
const inParallel = 64

func BenchmarkUnary(b *testing.B) {
	theirs, ours := rivals(b)
	for _, rival := range []struct {
		name string
		conn *grpc.ClientConn
	}{{"round_robin", theirs}, {"mesh", ours}} {
		b.Run(rival.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				unary(context.Background(), b, rival.conn)
			}
		})
		b.Run(rival.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			callParallel(b, rival.conn, b.N)
		})
	}
}

// BenchmarkBesideRoundRobin compares the CPU time of a unary call, that of its
// server included, in rounds in which one ClientConn follows the other: run it
// with -benchtime 100x for 100 rounds. What it reports are medians.
func BenchmarkBesideRoundRobin(b *testing.B) {
	const calls = 1000 // of a round
	theirs, ours := rivals(b)
	for _, how := range []struct {
		name string
		call func(testing.TB, *grpc.ClientConn, int)
	}{{"serial", callSerial}, {"parallel", callParallel}} {
		b.Run(how.name, func(b *testing.B) {
			var before, after, ratios []float64
			for round := range b.N {
				pair := []*grpc.ClientConn{theirs, ours}
				var spent [2]float64
				for i := range pair {
					i ^= round & 1 // who is first takes turns
					spent[i] = cpuTime(b, func() { how.call(b, pair[i], calls) }) / calls
				}
				before, after = append(before, spent[0]), append(after, spent[1])
				ratios = append(ratios, spent[1]/spent[0])
			}
			b.ReportMetric(median(before), "round_robin-cpu-ns/call")
			b.ReportMetric(median(after), "mesh-cpu-ns/call")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func callSerial(tb testing.TB, conn *grpc.ClientConn, calls int) {
	for range calls {
		unary(context.Background(), tb, conn)
	}
}

func callParallel(tb testing.TB, conn *grpc.ClientConn, calls int) {
	var callers sync.WaitGroup
	for i := range inParallel {
		callers.Go(func() {
			for range (calls + i) / inParallel {
				unary(context.Background(), tb, conn)
			}
		})
	}
	callers.Wait()
}

// cpuTime returns the nanoseconds that the process spends on f.
func cpuTime(tb testing.TB, f func()) float64 {
	before := spent(tb)
	f()
	return float64(spent(tb) - before)
}

func spent(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
