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

// critical is the quantile of the chi-squared distribution at 1 - 1e-6.
func critical(freedom int) float64 {
	low, high := 0.0, 1000.0
	for range 60 {
		if middle := (low + high) / 2; exceeds(middle, freedom) > 1e-6 {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// exceeds is the probability of a chi squared above x: that of one or two
// degrees of freedom, and a term for each two more.
func exceeds(x float64, freedom int) float64 {
	k, p := 2.0, math.Exp(-x/2)
	if freedom%2 == 1 {
		k, p = 1, math.Erfc(math.Sqrt(x/2))
	}
	for ; k < float64(freedom); k += 2 {
		p += math.Pow(x/2, k/2) * math.Exp(-x/2) / math.Gamma(k/2+1)
	}
	return p
}
