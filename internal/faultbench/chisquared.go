package main

import "math"

// even returns chi squared of the counts against equal shares, over the value
// that one in a million of fair draws exceeds: above 1 they are not fair.
func even(counts []int) float64 {
	total := 0
	for _, n := range counts {
		total += n
	}
	if total == 0 || len(counts) < 2 {
		return math.Inf(1)
	}
	want := float64(total) / float64(len(counts))
	sum := 0.0
	for _, n := range counts {
		sum += (float64(n) - want) * (float64(n) - want) / want
	}
	return sum / critical(len(counts)-1)
}

// critical is the quantile of the chi-squared distribution at 1 - 1e-6, by the
// approximation of Wilson and Hilferty.
func critical(freedom int) float64 {
	const z = 4.753424
	k := float64(freedom)
	root := 1 - 2/(9*k) + z*math.Sqrt(2/(9*k))
	return k * root * root * root
}
