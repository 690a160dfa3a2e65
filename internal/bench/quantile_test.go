package main

import "testing"

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		values  []float64
		q, want float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.75, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{5, 4, 3, 2, 1}, 0.25, 2},
		{[]float64{1, 2}, 0.75, 1.75},
		{[]float64{1, 2}, 1, 2},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile of %v at %v is %v, want %v", tt.values, tt.q, got, tt.want)
		}
	}
}
